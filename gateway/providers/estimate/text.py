"""Tokens of a text from the shape of its words, without a vocabulary.

Knows characters only; must not know what the text is part of.

Byte-pair vocabularies agree on a few facts: a word of ordinary length is one token with the space before it,
a hump inside an identifier starts a new one, line ends come with their indentation, punctuation goes in short
clumps, and every script outside ASCII has its own price per character. A text is mapped to classes of bytes,
split into runs, and each run priced by the weights below. They were fitted by non-negative least squares of
the relative error over code, prose, JSON, shell output and eleven languages against the vendor's published
(older) vocabulary, then rounded. `LEAN` goes on top for ASCII, which newer vocabularies cut finer; the scripts
outside it they cut coarser, so that those weights lean high by themselves.
"""

import math
from collections import Counter

__all__ = ["LEAN", "MODELLED_BYTES", "estimate_text", "weigh_text"]

LEAN = 1.1
"""What the fitted weights of ASCII are multiplied with."""

MODELLED_BYTES = 2 << 20
"""Bytes of a text that are looked at. What comes after, far past any context window, is priced flat."""

FLAT_PER_BYTE = 0.4

WORD = 1.0
SHOUT = 0.5
PER_FURTHER_CAPITAL = 0.12
LONG_WORD = 12
PER_LONG_WORD = 4.0
"""A word costs one token, more with several capitals at its beginning, and more for each `LONG_WORD` letters."""

NUMBER = 1.5
LONG_NUMBER = 4
PER_LONG_NUMBER = 0.6

CLUMP = 0.9
PER_OTHER_SIGN = 0.08
PER_SAME_SIGN = 0.25
RULE = 8
PER_LATER_SAME_SIGN = 0.1
"""A clump of punctuation; each further sign by whether it is new in it. A rule of one sign gets cheaper."""

LINE_END = 1.6
REPEATED_LINE_END = -1.0
TAB = 0.3
COLUMN = 0.2
LONG_INDENT = 16
PER_LONG_INDENT = 1.0
"""One space is part of the word after it, and a line end is priced with usual indentation. `COLUMN`: two
spaces or more after something else. `REPEATED_LINE_END` is for each pair of them."""

_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = b"0123456789"
_SPACE = b" \t\n\r\x0b\x0c"

_SCRIPTS = (
    (0xC2, 0xCD, 1.7),  # Latin with marks, phonetic and combining signs
    (0xCE, 0xCF, 1.3),  # Greek
    (0xD0, 0xD4, 0.55),  # Cyrillic
    (0xD5, 0xDF, 1.02),  # Armenian, Hebrew, Arabic and their neighbours
    (0xE0, 0xE0, 1.3),  # Indic scripts
    (0xE1, 0xE1, 3.0),  # scripts no vocabulary knows well: by the byte
    (0xE2, 0xE2, 2.5),  # signs and symbols
    (0xE3, 0xE3, 1.0),  # kana
    (0xE4, 0xE9, 0.9),  # Han
    (0xEA, 0xED, 1.31),  # Hangul
    (0xEE, 0xEF, 1.3),  # full-width and presentation forms, private use
    (0xF0, 0xF4, 2.7),  # emoji, rare Han
)
"""Weight of one character by the first byte of its UTF-8 form: from, to, weight."""

_EXCEPTIONS = (
    (b"\xe0\xb8", 1.9),  # Thai
    (b"\xe0\xb9", 1.9),
    (b"\xe2\x80", 0.6),  # dashes and quotes
    (b"\xe2\x94", 0.3),  # box drawing
    (b"\xe2\x95", 0.3),
    (b"\xe3\x80", 0.3),  # CJK punctuation
)
"""Characters told apart by their first two bytes."""


def _classes(shown: bytes, other: int, become: dict[int, int] | None = None) -> bytes:
    """A translation table: bytes of `shown` stay or become their class, all others become `other`."""
    table = bytearray([other] * 256)
    for byte in shown:
        table[byte] = (become or {}).get(byte, byte)
    return bytes(table)


_TO_WORDS = _classes(_LETTERS, ord(" "), {byte: ord("A" if byte < ord("a") else "a") for byte in _LETTERS})
_TO_NUMBERS = _classes(_DIGITS, ord(" "), dict.fromkeys(_DIGITS, ord("0")))
_TO_CLUMPS = _classes(
    bytes(byte for byte in range(128) if byte not in _LETTERS + _DIGITS + _SPACE),
    ord(" "),
    dict.fromkeys(range(32), ord("!")),
)
_TO_SPACE = _classes(_SPACE, ord("."), {byte: ord(kind) for byte, kind in zip(_SPACE, "stllll", strict=True)})
_ALIKE = bytes.maketrans(b"A", b"a")
_ASCII_AND_FURTHER = bytes(byte for byte in range(256) if byte < 0xC0)
_WEIGHTS = {byte: weight for first, last, weight in _SCRIPTS for byte in range(first, last + 1)}


def estimate_text(text: str) -> int:
    """Tokens of `text`. Takes any code points, lone surrogates included. More text is never fewer tokens."""
    return math.ceil(round(weigh_text(text), 6))


def weigh_text(text: str) -> float:
    """`estimate_text` before it is rounded, so that parts can be added up."""
    data = text.encode("utf-8", "surrogatepass")
    rest = max(0, len(data) - MODELLED_BYTES)
    if rest:
        data = data[:MODELLED_BYTES]
    weight = LEAN * (_words(data) + _numbers(data) + _clumps(data) + _space(data))
    if not text.isascii():
        weight += _foreign(data)
    return weight + FLAT_PER_BYTE * rest


def _words(data: bytes) -> float:
    words = b" " + data.translate(_TO_WORDS).replace(b"aA", b"a A")
    capitalised = words.count(b" A")
    shouts = words.count(b" AA")
    further = words.count(b"A") - capitalised - shouts
    weight = WORD * (words.count(b" a") + capitalised) + SHOUT * shouts + PER_FURTHER_CAPITAL * further
    return weight + PER_LONG_WORD * words.translate(_ALIKE).count(b"a" * LONG_WORD)


def _numbers(data: bytes) -> float:
    digits = b" " + data.translate(_TO_NUMBERS)
    return NUMBER * digits.count(b" 0") + PER_LONG_NUMBER * digits.count(b"0" * LONG_NUMBER)


def _clumps(data: bytes) -> float:
    return sum(count * _clump(run) for run, count in Counter(data.translate(_TO_CLUMPS).split()).items())


def _clump(run: bytes) -> float:
    kinds = len(set(run))
    same = len(run) - kinds
    dear = min(same, RULE)
    return CLUMP + PER_OTHER_SIGN * (kinds - 1) + PER_SAME_SIGN * dear + PER_LATER_SAME_SIGN * (same - dear)


def _space(data: bytes) -> float:
    space = b"." + data.translate(_TO_SPACE)
    weight = LINE_END * space.count(b"l") + REPEATED_LINE_END * space.count(b"ll")
    weight += TAB * space.count(b"t") + COLUMN * space.count(b".ss")
    return weight + PER_LONG_INDENT * space.count(b"s" * LONG_INDENT)


def _foreign(data: bytes) -> float:
    """Characters outside ASCII."""
    leads = Counter(data.translate(None, _ASCII_AND_FURTHER))
    weight = sum(count * _WEIGHTS.get(lead, 1.0) for lead, count in leads.items())
    for prefix, actual in _EXCEPTIONS:
        weight += data.count(prefix) * (actual - _WEIGHTS[prefix[0]])
    return weight
