"""The seccomp filter as the engine wants it: compact JSON text. It must not know what the filter allows."""

import json
from functools import cache
from pathlib import Path

__all__ = ["seccomp_json"]

_PACKAGE = Path(__file__).resolve().parent.parent
_PLACES = (_PACKAGE / "_images/base/seccomp.json", _PACKAGE.parent / "sandbox-images/base/seccomp.json")


@cache
def seccomp_json() -> str:
    """The committed filter, of an installed package or of a checkout. Raises FileNotFoundError: never run
    without.
    """
    for place in _PLACES:
        if place.is_file():
            return json.dumps(json.loads(place.read_text()), separators=(",", ":"), sort_keys=True)
    raise FileNotFoundError("seccomp.json is missing from this installation")
