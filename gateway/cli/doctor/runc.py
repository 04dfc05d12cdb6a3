"""Which known container escapes a version of runc still has. Pure; a table and a comparison."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

Version = tuple[int, int, int, float]

_FINAL = math.inf

# The first fixed version of each branch that got a fix; older branches got none, newer ones have it.
FIXED: dict[str, tuple[Version, ...]] = {
    "CVE-2024-21626": ((1, 1, 12, _FINAL),),
    "CVE-2025-31133": ((1, 2, 8, _FINAL), (1, 3, 3, _FINAL), (1, 4, 0, 3)),
    "CVE-2025-52565": ((1, 2, 8, _FINAL), (1, 3, 3, _FINAL), (1, 4, 0, 3)),
    "CVE-2025-52881": ((1, 2, 8, _FINAL), (1, 3, 3, _FINAL), (1, 4, 0, 3)),
}

# Package revisions that carry a fix at an older upstream version: (upstream, Debian suffix at least).
_BACKPORTS: dict[str, tuple[tuple[Version, int, int], ...]] = {
    "CVE-2024-21626": (((1, 1, 5, _FINAL), 12, 1),),
}

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:[-~]?rc\.?(\d+))?")
_DEBIAN = re.compile(r"\+deb(\d+)u(\d+)")


@dataclass(frozen=True, slots=True)
class Escapes:
    """`open`: known escapes by upstream's version, not seen fixed. `packaged`: a distribution built it, and may
    have fixed them without changing the version."""

    open: tuple[str, ...]
    packaged: bool


def parse(text: str) -> Version | None:
    """The upstream version at the beginning of the text; release candidates sort before their release."""
    match = _VERSION.match(text.strip())
    if match is None:
        return None
    major, minor, patch, candidate = match.groups()
    return int(major), int(minor), int(patch), _FINAL if candidate is None else int(candidate)


def known_escapes(version: str, build: str) -> Escapes | None:
    """What is known of this runc; None if its version cannot be read."""
    parsed = parse(version) or parse(build)
    if parsed is None:
        return None
    packaged = any(mark in text for text in (version, build) for mark in ("+ds", "+deb", "~ds", "ubuntu", ".el", ".fc"))
    still_open = [
        name for name in FIXED if not _fixed_upstream(parsed, FIXED[name]) and not _backported(name, parsed, build)
    ]
    return Escapes(tuple(still_open), packaged)


def _fixed_upstream(version: Version, fixes: tuple[Version, ...]) -> bool:
    branch = version[:2]
    for fix in fixes:
        if branch == fix[:2]:
            return version >= fix
    return branch > max(fix[:2] for fix in fixes)


def _backported(name: str, version: Version, build: str) -> bool:
    suffix = _DEBIAN.search(build)
    if suffix is None:
        return False
    release, revision = int(suffix[1]), int(suffix[2])
    return any(
        version == upstream and release == debian and revision >= least
        for upstream, debian, least in _BACKPORTS.get(name, ())
    )
