"""Paths as the client writes them, and the toolhost's refusals in words that help a model on."""

from __future__ import annotations

import posixpath

from gateway.sandbox.errors import ToolhostError
from gateway.sandbox.session import HOME
from gateway.tools.base import ToolResult
from gateway.tools.texts import tool_use_error
from gateway.tools.workbench import Workbench


def absolute(bench: Workbench, path: str) -> str:
    """The path as the sandbox knows it; nothing is resolved here."""
    if path == "~" or path.startswith("~/"):
        return HOME + path[1:]
    return posixpath.normpath(posixpath.join(bench.directory, path)) if path else bench.directory


def explained(bench: Workbench, path: str, error: ToolhostError) -> ToolResult:
    """A refusal of the toolhost in words that help the model on."""
    texts = {
        "not_found": f"File does not exist. Note: your current working directory is {bench.directory}.",
        "is_directory": f"EISDIR: illegal operation on a directory, read '{path}'",
        "not_a_directory": f"ENOTDIR: not a directory, open '{path}'",
        "permission": f"EACCES: permission denied, open '{path}'",
        "outside": (
            f"{path} is outside the sandbox workspace. Files can be used below {bench.root}, /tmp and "
            f"{HOME}; the machine the client runs on cannot be reached from here."
        ),
        "too_large": f"File is too large: {error}",
    }
    text = texts.get(error.reason, f"{path}: {error}")
    wrapped = text if error.reason == "not_found" else tool_use_error(text)
    return ToolResult(wrapped, is_error=True, facts={"reason": error.reason, "path": path})


def refused(text: str) -> ToolResult:
    """A refusal before anything was done."""
    return ToolResult(tool_use_error(text), is_error=True)
