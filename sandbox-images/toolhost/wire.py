"""Frames as bytes: two lengths, a JSON header, a raw payload.

Knows the byte layout and JSON only, nothing of sequence numbers' meaning, methods or descriptors.
The C halves of the json module are used directly: importing `json` pulls in `re` and doubles the start-up time.
"""

from __future__ import annotations

from _json import encode_basestring, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

HEADER_LIMIT = 65536
PAYLOAD_LIMIT = 8 << 20
MARKER_SIZE = 16


class Malformed(Exception):
    """The other side broke the wire contract. There is no way back but a resume marker or the end."""


class _Scanning:
    """What the C scanner reads its options from."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}


def _unserialisable(value: object) -> Any:
    raise TypeError(f"not JSON: {type(value).__name__}")


_context: Any = _Scanning()
_scan = make_scanner(_context)
_encode = make_encoder(None, _unserialisable, encode_basestring, None, ":", ",", False, False, False)


def loads(data: bytes) -> Any:
    """One JSON value, any leading white space, nothing after it but white space. Raises ValueError."""
    text = data.decode("utf-8")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        value, end = _scan(text, start)
    except (StopIteration, SystemError):
        # SystemError: the scanner looks for json.decoder's exception, and json.decoder is not imported.
        raise ValueError("not JSON") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if text[end:].strip(" \t\r\n"):
        raise ValueError("trailing bytes after JSON")
    return value


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON; what no UTF-8 can say (lone surrogates of odd file names) becomes '?'."""
    return "".join(_encode(value, 0)).encode("utf-8", "replace")


def dumps_indented(value: Any) -> bytes:
    """JSON as Jupyter writes it: one space a level, keys in their order."""
    return _indented(value, "\n").encode("utf-8", "replace")


def _indented(value: Any, margin: str) -> str:
    inner = margin + " "
    if type(value) is dict and value:
        items = [f"{encode_basestring(key)}: {_indented(item, inner)}" for key, item in value.items()]
        return "{" + inner + ("," + inner).join(items) + margin + "}"
    if type(value) is list and value:
        return "[" + inner + ("," + inner).join(_indented(item, inner) for item in value) + margin + "]"
    return "".join(_encode(value, 0))


def encode_frame(header: bytes, payload: bytes) -> bytes:
    """The bytes before the payload."""
    return len(header).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + header


class FrameParser:
    """Cuts a byte stream into (header object, payload) pairs; raises Malformed at the first wrong byte."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def reset(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= 8:
                header_size = int.from_bytes(buffer[at : at + 4], "big")
                payload_size = int.from_bytes(buffer[at + 4 : at + 8], "big")
                if header_size > HEADER_LIMIT or payload_size > PAYLOAD_LIMIT:
                    raise Malformed("frame over its limits")
                body = at + 8
                end = body + header_size + payload_size
                if len(buffer) < end:
                    break
                try:
                    header = loads(bytes(buffer[body : body + header_size]))
                except ValueError as error:
                    raise Malformed("header is not JSON") from error
                if type(header) is not dict:
                    raise Malformed("header is not an object")
                payload = bytes(buffer[body + header_size : end])
                at = end
                yield header, payload
        finally:
            if at:
                del buffer[:at]
