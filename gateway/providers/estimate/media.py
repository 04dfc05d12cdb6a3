"""Tokens of images and PDFs from their first bytes, without decoding either.

Knows file headers and the API's published prices; must not know requests. What cannot be read is priced like
the largest thing it may be: the guess leans high.
"""

import binascii
import re
import struct

__all__ = ["IMAGE_TOKENS", "PAGE_TOKENS", "image_tokens", "pdf_tokens"]

LONGEST_EDGE = 1568
"""Pixels; the API scales larger images down to it."""

PIXELS_PER_TOKEN = 750

IMAGE_TOKENS = 1600
"""What one image costs at most, and where its size is not known."""

PAGE_TOKENS = 3000
"""One page of a PDF: its text and its picture."""

BYTES_PER_PAGE = 50_000
"""Where the pages of a PDF cannot be counted."""

MAX_PAGES = 600
"""More than the API takes."""

_HEAD = 256 << 10
"""Characters of base64 read for an image's size; a JPEG may carry a preview before it."""

_PDF_HEAD = 4 << 20

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_COUNT = re.compile(rb"/Count\s+(\d{1,6})")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers that carry the picture's size."""


def image_tokens(data: str) -> int:
    """Of a base64 image: PNG, JPEG, GIF or WebP."""
    size = _size(_decoded(data[:_HEAD]))
    if size is None or min(size) <= 0:
        return IMAGE_TOKENS
    width, height = size
    scale = min(1.0, LONGEST_EDGE / max(size))
    return min(IMAGE_TOKENS, max(1, round(width * height * scale * scale / PIXELS_PER_TOKEN)))


def pdf_tokens(data: str) -> int:
    """Of a base64 PDF, by its pages: objects or the page tree's own count, whichever is more."""
    head = _decoded(data[:_PDF_HEAD])
    objects = len(_PAGE.findall(head))
    counted = max((int(number) for number in _COUNT.findall(head)), default=0)
    pages = max(objects, counted) or -(-len(data) * 3 // 4 // BYTES_PER_PAGE)
    return PAGE_TOKENS * min(max(pages, 1), MAX_PAGES)


def _decoded(text: str) -> bytes:
    """As much as is base64; b"" for nonsense."""
    stop = _NOT_BASE64.search(text)
    usable = text[: stop.start()] if stop else text
    if len(usable) % 4 == 1:
        usable = usable[:-1]
    return binascii.a2b_base64(usable + "=" * (-len(usable) % 4))


def _size(head: bytes) -> tuple[int, int] | None:
    try:
        if head.startswith(b"\x89PNG"):
            return struct.unpack_from(">II", head, 16)
        if head.startswith(b"GIF8"):
            return struct.unpack_from("<HH", head, 6)
        if head.startswith(b"\xff\xd8"):
            return _jpeg_size(head)
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return _webp_size(head)
    except (struct.error, IndexError):
        return None
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        if marker == 0xFF:
            at += 1
            continue
        length: int = struct.unpack_from(">H", head, at + 2)[0]
        at += 2 + length
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits: int = struct.unpack_from("<I", head, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
