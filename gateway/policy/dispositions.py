"""Who runs a tool the client declared: the gateway's sandbox, the client itself, or nobody.

The table names every built-in tool of Claude Code 2.1.197 and 2.1.330. The boundary is fail-closed: a
built-in that a later Claude Code adds is refused until it has a row here, because Claude Code runs every
`tool_use` block it is sent (measured). An application that speaks the API by SDK brings tools of its own,
whose effects are its own code's; those go back to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any


class Disposition(StrEnum):
    GATEWAY = "gateway"
    """Offered to the model, run in the session's sandbox, never sent to the client."""
    SHARED = "shared"
    """Gateway-run when the call names something the gateway started, else the client's."""
    CLIENT = "client"
    """Offered to the model and sent to the client."""
    REFUSED = "refused"
    """Taken out of the offer; a call of it is answered with an error by the gateway."""


_TABLE: dict[Disposition, tuple[str, ...]] = {
    Disposition.GATEWAY: (
        "Bash", "BashOutput", "Edit", "Glob", "Grep", "KillShell", "NotebookEdit", "Read", "Write",
    ),
    Disposition.SHARED: ("TaskOutput", "TaskStop"),
    Disposition.CLIENT: (
        "Agent", "AskUserQuestion", "CronCreate", "CronDelete", "CronList", "DeferredToolPlaceholder",
        "EnterPlanMode", "ExitPlanMode", "ListAgents", "ListMcpResourcesTool", "ReadMcpResourceDirTool",
        "ReadMcpResourceTool", "ReportFindings", "ScheduleWakeup", "SendMessage", "Skill",
        "StructuredOutput", "Task", "TaskCreate", "TaskGet", "TaskList", "TaskUpdate", "TodoWrite",
        "ToolSearch", "WaitForMcpServers",
    ),
    Disposition.REFUSED: (
        "DesignSync", "EnterWorktree", "ExitWorktree", "LS", "Monitor", "MultiEdit", "PowerShell", "REPL",
        "WebFetch", "WebSearch", "Workflow",
    ),
}  # fmt: skip

_BY_NAME = {name: disposition for disposition, names in _TABLE.items() for name in names}

# Properties whose use would make the client act on its own machine (a git worktree beside the workspace).
_LOCAL_EFFECT_PROPERTIES: dict[str, frozenset[str]] = {"Agent": frozenset({"isolation"})}


def disposition_of(name: str, *, claude_code: bool, client_tools: Sequence[str]) -> Disposition:
    """Where a declared tool runs in mode `sandbox`.

    `client_tools` are the operator's patterns of further client tools (the user's MCP tools by default).
    """
    known = _BY_NAME.get(name)
    if known is not None:
        return known
    if any(fnmatchcase(name, pattern) for pattern in client_tools):
        return Disposition.CLIENT
    return Disposition.REFUSED if claude_code else Disposition.CLIENT


def is_shared(name: str) -> bool:
    """Whether calls of the tool can be the gateway's or the client's, by what they name."""
    return _BY_NAME.get(name) is Disposition.SHARED


def local_effect_properties(name: str) -> frozenset[str]:
    """Input properties of a client tool that are never offered nor forwarded."""
    return _LOCAL_EFFECT_PROPERTIES.get(name, frozenset())


def sanitised_schema(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The tool's input schema without properties that have an effect on the client's machine."""
    hidden = local_effect_properties(name)
    properties = schema.get("properties")
    if not hidden or not isinstance(properties, dict):
        return schema
    return {**schema, "properties": {key: value for key, value in properties.items() if key not in hidden}}
