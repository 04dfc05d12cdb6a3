"""Token counts: how later values replace earlier ones, and how the iterations of a turn add up.

Knows plain dictionaries; unknown counters are treated like known ones.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["add", "merge"]


def merge(earlier: Mapping[str, Any], later: Mapping[str, Any] | None) -> dict[str, Any]:
    """The usage of one message after one more report: later values replace, null says nothing."""
    merged = dict(earlier)
    for name, value in (later or {}).items():
        if value is not None:
            merged[name] = value
        else:
            merged.setdefault(name, None)
    return merged


def add(total: Mapping[str, Any], one: Mapping[str, Any] | None) -> dict[str, Any]:
    """The sum over the model calls of one turn: numbers add up, objects by field, lists are joined, of
    anything else (service tier, region) the later value stands."""
    summed = dict(total)
    for name, value in (one or {}).items():
        summed[name] = _sum(summed.get(name), value)
    return summed


def _sum(left: Any, right: Any) -> Any:
    if right is None:
        return left
    if left is None:
        return dict(right) if isinstance(right, Mapping) else right
    if _number(left) and _number(right):
        return left + right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return add(left, right)
    if isinstance(left, list) and isinstance(right, list):
        return [*left, *right]
    return right


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
