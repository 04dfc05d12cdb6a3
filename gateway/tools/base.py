"""What a tool is: typed input, policy facts, one `run` against a workbench, and a result for the model.

A tool knows the toolhost and nothing of conversations, HTTP or models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from gateway.tools.workbench import Workbench

Json = dict[str, Any]


class Effect(StrEnum):
    """What a call may do, for scheduling and for the audit reader."""

    READ = "read"
    """Changes nothing; runs beside anything."""
    EXECUTE = "execute"
    """Runs a program; calls that the model makes in one step are independent and run beside each other."""
    WRITE = "write"
    """Changes a file; runs alone, in the order the model gave."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model gets. `content` is text, or content blocks for images and documents."""

    content: str | list[Json]
    is_error: bool = False
    code: int | None = None
    """Exit code of the program, where one ran."""
    facts: Json = field(default_factory=dict)
    """Further facts for the audit record (bytes, paths, duration); never file contents."""
    shown: str | None = None
    """What a person sees when it is not the content itself (a diff instead of a confirmation)."""

    @property
    def text(self) -> str:
        """The text part, for people: without the marks that models know."""
        if self.shown is not None:
            return self.shown
        if isinstance(self.content, str):
            return self.content.removeprefix("<tool_use_error>").removesuffix("</tool_use_error>")
        return "\n".join(block.get("text", f"[{block.get('type')}]") for block in self.content)


Show = Callable[[str], None]
"""Takes pieces of output while a call runs; may be called any number of times, also never."""

Input = TypeVar("Input", bound=msgspec.Struct)


class Prepared:
    """A call that waits for its intent to be durable. `begin` makes ready what has no effect yet; then either `run`
    carries it out or `drop` leaves nothing behind."""

    def __init__(self, run: Callable[[Show], Awaitable[ToolResult]]) -> None:
        self.run = run

    async def begin(self) -> None:
        """Make ready. Never raises: what goes wrong is told by `run`."""

    async def drop(self) -> None:
        """The call does not run."""


class Tool(ABC, Generic[Input]):
    """One tool. Subclasses are stateless: what a session remembers lives on its workbench."""

    name: ClassVar[str]
    effect: ClassVar[Effect]
    input_type: type[Input]

    def owns(self, arguments: Input, bench: Workbench) -> bool:
        """Whether a shared tool's call is the gateway's (it names something the gateway started)."""
        return True

    @abstractmethod
    def headline(self, arguments: Input) -> str:
        """The part in brackets of the line a person sees: `Bash(pytest -q)`."""

    def prepare(self, arguments: Input, bench: Workbench) -> Prepared:
        """Called while the intent of the call is on its way to the disk; see `Prepared`."""
        return Prepared(lambda show: self.run(arguments, bench, show))

    @abstractmethod
    async def run(self, arguments: Input, bench: Workbench, show: Show) -> ToolResult:
        """Run it. Refusals and failures of the work itself are results; a lost sandbox raises SandboxError.

        Cancellation kills what was started and propagates.
        """
