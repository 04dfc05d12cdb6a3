"""Inputs of the gateway-run tools, as Claude Code 2.1.197 and 2.1.330 declare them.

Types, names, required fields and limits are those seen on the wire. Unknown properties are refused with the
client's own kind of message, since the schemas say `additionalProperties: false`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

MAX_TIMEOUT_MS = 600_000
DEFAULT_TIMEOUT_MS = 120_000


class BashInput(Struct, forbid_unknown_fields=True):
    command: str
    timeout: float | None = None
    description: str | None = None
    run_in_background: bool | None = None
    dangerouslyDisableSandbox: bool | None = None


class TaskOutputInput(Struct, forbid_unknown_fields=True):
    task_id: str
    block: bool = True
    timeout: Annotated[float, Meta(ge=0, le=MAX_TIMEOUT_MS)] = 30_000


class TaskStopInput(Struct, forbid_unknown_fields=True):
    task_id: str | None = None
    shell_id: str | None = None


class BashOutputInput(Struct, forbid_unknown_fields=True):
    bash_id: str
    filter: str | None = None


class KillShellInput(Struct, forbid_unknown_fields=True):
    shell_id: str


class ReadInput(Struct, forbid_unknown_fields=True):
    file_path: str
    offset: Annotated[int, Meta(ge=0)] | None = None
    limit: Annotated[int, Meta(gt=0)] | None = None
    pages: str | None = None
    allow_large: bool | None = None


class WriteInput(Struct, forbid_unknown_fields=True):
    file_path: str
    content: str


class EditInput(Struct, forbid_unknown_fields=True):
    file_path: str
    old_string: str
    new_string: str
    replace_all: bool = False


class NotebookEditInput(Struct, forbid_unknown_fields=True):
    notebook_path: str
    new_source: str
    cell_id: str | None = None
    cell_type: Literal["code", "markdown"] | None = None
    edit_mode: Literal["replace", "insert", "delete"] | None = None


class GlobInput(Struct, forbid_unknown_fields=True):
    pattern: str
    path: str | None = None


class GrepInput(Struct, forbid_unknown_fields=True):
    pattern: str
    path: str | None = None
    glob: str | None = None
    output_mode: Literal["content", "files_with_matches", "count"] = "files_with_matches"
    before: float | None = field(default=None, name="-B")
    after: float | None = field(default=None, name="-A")
    around: float | None = field(default=None, name="-C")
    context: float | None = None
    line_numbers: bool | None = field(default=None, name="-n")
    ignore_case: bool = field(default=False, name="-i")
    only_matching: bool = field(default=False, name="-o")
    type: str | None = None
    head_limit: float | None = None
    offset: float | None = None
    multiline: bool = False
