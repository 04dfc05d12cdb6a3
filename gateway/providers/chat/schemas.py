"""The tools whose schema the API knows by type, as plain functions any model can be offered.

Clients declare them by type and name only and execute them themselves. Data: the vendor's documented
parameters in our own words. Must not know dialects.
"""

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["client_tool"]

Schema = dict[str, Any]
Function = tuple[str, Schema]


def client_tool(kind: str, fields: Mapping[str, Any]) -> Function | None:
    """Description and parameters of a tool type such as `bash_20250124`; None for a type that is no client
    tool. `fields` is the declaration, which may carry sizes."""
    for prefix, make in _KINDS.items():
        if kind.startswith(prefix) and kind[len(prefix) :].isdecimal():
            return make(kind[len(prefix) :], fields)
    return None


def _object(properties: Mapping[str, Schema], *required: str) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _integer(description: str) -> Schema:
    return {"type": "integer", "description": description}


def _one_of(description: str, *words: str) -> Schema:
    return {"type": "string", "enum": list(words), "description": description}


def _pair(description: str) -> Schema:
    return {
        "type": "array",
        "items": {"type": "integer"},
        "minItems": 2,
        "maxItems": 2,
        "description": description,
    }


def _bash(_: str, __: Mapping[str, Any]) -> Function:
    return (
        "Runs a command in a bash session that lives on between calls: directory, variables and background "
        "processes stay. Returns what the command printed. Give `command`, or `restart` alone to begin anew.",
        _object(
            {
                "command": _text("The command to run. Required unless restarting."),
                "restart": {"type": "boolean", "description": "True ends the session and starts a new one."},
            }
        ),
    )


def _text_editor(version: str, fields: Mapping[str, Any]) -> Function:
    commands = ["view", "create", "str_replace", "insert"]
    if version < "20250429":
        commands.append("undo_edit")
    limit = fields.get("max_characters")
    long = f" A view shows at most {limit} characters." if isinstance(limit, int) else ""
    return (
        "Views and edits text files. `view` shows a file with line numbers, or lists a directory; `create` writes "
        "a whole file; `str_replace` replaces `old_str`, which must occur exactly once, by `new_str`; `insert` "
        f"puts text after a line.{long}",
        _object(
            {
                "command": _one_of("What to do.", *commands),
                "path": _text("Absolute path of the file or directory."),
                "view_range": _pair("For view: first and last line, counted from 1; -1 as last means the end."),
                "file_text": _text("For create: the content of the file."),
                "old_str": _text("For str_replace: the text to replace, exactly as it stands in the file."),
                "new_str": _text(
                    "For str_replace: the new text; empty or absent deletes. For old versions of insert too."
                ),
                "insert_line": _integer("For insert: the line after which to insert; 0 is the beginning."),
                "insert_text": _text("For insert: the text to insert."),
            },
            "command",
            "path",
        ),
    )


def _memory(_: str, __: Mapping[str, Any]) -> Function:
    return (
        "Keeps notes across conversations as files below /memories. Look there with `view` before starting a task; "
        "write down progress and findings. `create` writes a file, `str_replace` and `insert` edit it, `delete` "
        "and `rename` work on files and directories.",
        _object(
            {
                "command": _one_of("What to do.", "view", "create", "str_replace", "insert", "delete", "rename"),
                "path": _text("Path below /memories. For every command but rename."),
                "view_range": _pair("For view: first and last line, counted from 1."),
                "file_text": _text("For create: the content of the file."),
                "old_str": _text("For str_replace: the text to replace; must occur once."),
                "new_str": _text("For str_replace: the new text."),
                "insert_line": _integer("For insert: the line after which to insert; 0 is the beginning."),
                "insert_text": _text("For insert: the text to insert."),
                "old_path": _text("For rename: the present path."),
                "new_path": _text("For rename: the new path."),
            },
            "command",
        ),
    )


_COMPUTER_FIRST = (
    "key",
    "type",
    "mouse_move",
    "left_click",
    "left_click_drag",
    "right_click",
    "middle_click",
    "double_click",
    "screenshot",
    "cursor_position",
)
_COMPUTER_SINCE_2025 = (
    "left_mouse_down",
    "left_mouse_up",
    "scroll",
    "hold_key",
    "wait",
    "triple_click",
)


def _computer(version: str, fields: Mapping[str, Any]) -> Function:
    actions = [*_COMPUTER_FIRST]
    properties: dict[str, Schema] = {
        "coordinate": _pair("x and y in pixels from the upper left corner. For mouse actions and scroll."),
        "text": _text(
            "For type and key: the text, or keys such as ctrl+s. For clicks and scroll: keys held meanwhile."
        ),
    }
    if version >= "20250124":
        actions.extend(_COMPUTER_SINCE_2025)
        properties |= {
            "start_coordinate": _pair("For left_click_drag: where the drag begins."),
            "scroll_direction": _one_of("For scroll.", "up", "down", "left", "right"),
            "scroll_amount": _integer("For scroll: how many clicks of the wheel."),
            "duration": {"type": "number", "description": "For wait and hold_key: seconds."},
        }
    if version >= "20251124" and fields.get("enable_zoom") is True:
        actions.append("zoom")
        properties["region"] = {
            "type": "array",
            "items": {"type": "integer"},
            "minItems": 4,
            "maxItems": 4,
            "description": "For zoom: x0, y0, x1, y1 of the part to show in full resolution.",
        }
    width, height = fields.get("display_width_px"), fields.get("display_height_px")
    size = f" The screen is {width} x {height} pixels." if isinstance(width, int) and isinstance(height, int) else ""
    return (
        "Uses a computer by screen, keyboard and mouse. Take a screenshot to see the effect of an action; click in "
        f"the middle of what you aim at.{size}",
        _object({"action": _one_of("What to do.", *actions), **properties}, "action"),
    )


_KINDS: Mapping[str, Callable[[str, Mapping[str, Any]], Function]] = {
    "bash_": _bash,
    "text_editor_": _text_editor,
    "memory_": _memory,
    "computer_": _computer,
}
