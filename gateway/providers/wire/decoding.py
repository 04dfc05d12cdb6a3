"""Undoes content codings piece by piece, never more than a step at a time. Must not know connections."""

import zlib

from gateway.providers.wire.errors import WireError

__all__ = ["STEP", "Inflater"]

STEP = 256 * 1024
"""Most bytes one step gives, so that a few bytes which unpack to gigabytes cost no memory."""

_GZIP_BITS = 16 + zlib.MAX_WBITS
_CODINGS = {"gzip": _GZIP_BITS, "x-gzip": _GZIP_BITS, "deflate": 0}
_SNIFF = 2


class Inflater:
    """Decodes one body. `feed` a piece, then `step` until it gives b"", and `finish` when the body ended.

    `bits` is zlib's window setting; 0 means "deflate", of which servers send two forms: with zlib's frame, as
    the specification says, and without.
    """

    __slots__ = ("_bits", "_ended", "_input", "_more", "_stream")

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._stream = zlib.decompressobj(bits) if bits else None
        self._input = b""
        self._more = False
        self._ended = False

    @classmethod
    def of(cls, coding: str) -> "Inflater":
        """What undoes a coding (lower case); raises `WireError` for any that is not gzip or deflate."""
        bits = _CODINGS.get(coding)
        if bits is None:
            raise WireError("the answer has a content-encoding that nobody asked for and this client cannot undo")
        return cls(bits)

    def feed(self, data: bytes) -> None:
        """Takes the next piece. Call only after `step` gave b""."""
        self._input = self._input + data if self._input else data

    def step(self) -> bytes:
        """Up to `STEP` decoded bytes; b"" when the next piece is needed."""
        if self._ended:
            if self._input:
                raise WireError("bytes follow the end of the compressed answer")
            return b""
        if self._stream is None:
            if len(self._input) < _SNIFF:
                return b""
            self._stream = zlib.decompressobj(_deflate_bits(self._input))
        if not (self._input or self._more):
            return b""
        stream = self._stream
        try:
            out = stream.decompress(self._input, STEP)
        except zlib.error:
            raise WireError("the compressed answer cannot be decoded") from None
        # A full step may leave output inside zlib even when all input is used up.
        self._more = len(out) == STEP
        self._ended = stream.eof
        self._input = stream.unused_data if stream.eof else stream.unconsumed_tail
        return out

    def finish(self) -> None:
        """The body ended; raises `WireError` where that is before the coding's own end."""
        if not self._ended:
            raise WireError("the compressed answer ends before its end mark")


def _deflate_bits(start: bytes) -> int:
    framed = start[0] & 0x0F == zlib.DEFLATED and int.from_bytes(start[:_SNIFF]) % 31 == 0
    return zlib.MAX_WBITS if framed else -zlib.MAX_WBITS
