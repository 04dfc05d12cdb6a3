"""One wording of `tool_choice` for the few that clients use.

Clients written for the gateway's forerunner send the form of OpenAI's chat API. Knows that field only.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["normalised_tool_choice"]


def normalised_tool_choice(choice: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """`{"type": "function", "function": {"name": X}}` as `{"type": "tool", "name": X}`, other fields kept; anything
    else, unknown forms included, is the very same object."""
    if choice is None or choice.get("type") != "function":
        return choice
    function = choice.get("function")
    name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
    if not isinstance(name, str) or not name:
        return choice
    rest = {key: value for key, value in choice.items() if key not in ("type", "function", "name")}
    return {"type": "tool", "name": name, **rest}
