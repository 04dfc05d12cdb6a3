"""Frames of the channel as bytes and checked headers (docs/toolhost.md). No state beyond half a frame.

Every header that arrives is hostile: unknown fields, wrong types and sizes over the limits are refused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.sandbox.errors import ChannelBroken

__all__ = ["HEADER_LIMIT", "PAYLOAD_LIMIT", "ErrorBody", "FrameParser", "Header", "encode"]

HEADER_LIMIT = 65536
PAYLOAD_LIMIT = 8 << 20


class ErrorBody(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON-RPC error. `data.reason` is the stable part."""

    code: int
    message: str
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class Header(msgspec.Struct, forbid_unknown_fields=True):
    """The header of a frame from the toolhost: a reply (id), a notification (method) or control (seq 0)."""

    seq: int
    ack: int
    jsonrpc: str = "2.0"
    id: int | None = None
    method: str | None = None
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    result: dict[str, Any] | None = None
    error: ErrorBody | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Header)


def encode(header: dict[str, Any], payload_size: int = 0) -> bytes:
    """The bytes of a frame before its payload. Raises ValueError over the limits (a bug or a caller's data)."""
    body = _encoder.encode(header)
    if len(body) > HEADER_LIMIT or payload_size > PAYLOAD_LIMIT:
        raise ValueError("request over the frame limits")
    return len(body).to_bytes(4, "big") + payload_size.to_bytes(4, "big") + body


class FrameParser:
    """Cuts bytes into (header, payload); raises ChannelBroken at the first wrong byte."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def reset(self) -> None:
        self._buffer = bytearray()

    @classmethod
    def first(cls, data: bytes) -> tuple[Header, bytes] | None:
        """The header of the first frame, which has no payload, and the bytes after it; None until complete."""
        parser = cls()
        for header, payload in parser.feed(data):
            if payload:
                raise ChannelBroken("a control frame has no payload")
            size = 8 + int.from_bytes(data[:4], "big")
            return header, data[size:]
        return None

    def feed(self, data: bytes) -> Iterator[tuple[Header, bytes]]:
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= 8:
                header_size = int.from_bytes(buffer[at : at + 4], "big")
                payload_size = int.from_bytes(buffer[at + 4 : at + 8], "big")
                if header_size > HEADER_LIMIT or payload_size > PAYLOAD_LIMIT:
                    raise ChannelBroken("frame over its limits")
                body = at + 8 + header_size
                end = body + payload_size
                if len(buffer) < end:
                    break
                with memoryview(buffer) as view:
                    try:
                        header = _decoder.decode(view[at + 8 : body])
                    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                        raise ChannelBroken(f"bad header: {str(error)[:200]}") from error
                    payload = bytes(view[body:end])
                at = end
                yield header, payload
        finally:
            if at:
                del buffer[:at]
