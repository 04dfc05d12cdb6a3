"""Every tool that the gateway runs itself, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.tools.background import BashOutput, KillShell, TaskOutput, TaskStop
from gateway.tools.base import Tool
from gateway.tools.change import Edit, Write
from gateway.tools.notebook import NotebookEdit
from gateway.tools.read import Read
from gateway.tools.search import Glob, Grep
from gateway.tools.shell import Bash

CATALOGUE: Mapping[str, Tool[Any]] = {
    tool.name: tool
    for tool in (
        Bash(), BashOutput(), Edit(), Glob(), Grep(), KillShell(), NotebookEdit(), Read(), TaskOutput(),
        TaskStop(), Write(),
    )
}  # fmt: skip
