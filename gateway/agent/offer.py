"""Which tools the model is offered, and who runs each: facts for one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.messages.blocks import Tool
from gateway.messages.request import MessagesRequest
from gateway.policy import Disposition, disposition_of, is_shared, sanitised_schema


@dataclass(frozen=True, slots=True)
class Offer:
    """`tools` goes upstream; `who` answers for every name the client declared."""

    tools: list[Tool]
    who: Mapping[str, Disposition]
    changed: bool
    """Whether `tools` differs from what the client sent."""

    def disposition(self, name: str) -> Disposition:
        """A name that was never declared is nobody's to run."""
        return self.who.get(name, Disposition.REFUSED)

    def settled(self, name: str, *, started_here: bool) -> Disposition:
        """Who runs a call of it. A shared tool's call is the gateway's when it names something the gateway
        started, even where the client offers the tool only later; else it is the client's, if it declared it."""
        who = self.disposition(name)
        if who is Disposition.SHARED:
            return Disposition.GATEWAY if started_here else Disposition.CLIENT
        if who is Disposition.REFUSED and started_here and is_shared(name):
            return Disposition.GATEWAY
        return who

    @property
    def gateway_runs_any(self) -> bool:
        return any(who in (Disposition.GATEWAY, Disposition.SHARED) for who in self.who.values())


def offer_for(request: MessagesRequest, *, sandboxed: bool, claude_code: bool, client_tools: Sequence[str]) -> Offer:
    """In mode `client` (`sandboxed` false) everything goes back to the client as it came."""
    who: dict[str, Disposition] = {}
    tools: list[Tool] = []
    changed = False
    for tool in request.tools:
        if not tool.name or not sandboxed or tool.type != "custom":
            # Server tools belong to the upstream; a toolset entry names no tool.
            who[tool.name] = Disposition.CLIENT
            tools.append(tool)
            continue
        disposition = disposition_of(tool.name, claude_code=claude_code, client_tools=client_tools)
        who[tool.name] = disposition
        if disposition is Disposition.REFUSED:
            changed = True
            continue
        schema = tool.get("input_schema")
        kept = sanitised_schema(tool.name, schema) if isinstance(schema, dict) else schema
        if kept is not schema:
            changed = True
            tool = tool.replace(input_schema=kept)
        tools.append(tool)
    return Offer(tools, who, changed)
