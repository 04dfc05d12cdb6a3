"""How a gateway-run call looks to the client: a resolved, sealed pair of blocks, hidden but echoed.

The call is a `server_tool_use` block with its complete input, the result a `code_execution_tool_result`
block (a type the SDKs know), both with a `gateway` field. Claude Code shows neither and sends both back
unchanged (measured). The seal is what makes them the gateway's own record and not somebody's text.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.agent.seal import Sealer

Json = dict[str, Any]

MARK = "gateway"
"""The extra field on blocks that the gateway made."""

_SAFE_ID = re.compile(r"toolu_[A-Za-z0-9_-]{8,64}\Z")


@dataclass(frozen=True, slots=True)
class Call:
    """A gateway-run call and what it gave, in the upstream's terms."""

    id: str
    """`toolu_…`, unique in the conversation."""
    name: str
    arguments: Any
    content: str | list[Json]
    is_error: bool
    step: int
    """Which sampled answer of its message it belongs to; calls of one step are answered together."""

    def tool_use(self) -> Json:
        return {"type": "tool_use", "id": self.id, "name": self.name, "input": self.arguments}

    def tool_result(self) -> Json:
        result: Json = {"type": "tool_result", "tool_use_id": self.id, "content": self.content}
        if self.is_error:
            result["is_error"] = True
        return result


def fresh_call_id(offered: object, taken: set[str]) -> str:
    """The upstream's id when it is well formed and new in the conversation, else one of ours.

    Claude Code replaces a result whose id it has seen before by "interrupted", and some models count their
    calls from one in every answer.
    """
    if isinstance(offered, str) and _SAFE_ID.match(offered) and offered not in taken:
        call_id = offered
    else:
        call_id = f"toolu_{secrets.token_hex(12)}"
    taken.add(call_id)
    return call_id


class Pairs:
    """Makes pairs for the client and recognises them when they come back, for one subject."""

    def __init__(self, sealer: Sealer, subject: str) -> None:
        self._sealer = sealer
        self._subject = subject

    def make(self, call: Call, code: int | None) -> tuple[Json, Json]:
        """The two blocks of a finished call. `code` is the exit code where a program ran."""
        server_id = _server_id(call.id)
        text = call.content if isinstance(call.content, str) else ""
        mark: Json = {"step": call.step, "seal": self._seal(call)}
        if call.is_error:
            mark["error"] = True
        if not isinstance(call.content, str):
            mark["content"] = call.content
        return (
            {"type": "server_tool_use", "id": server_id, "name": call.name, "input": call.arguments},
            {
                "type": "code_execution_tool_result",
                "tool_use_id": server_id,
                "content": {
                    "type": "code_execution_result",
                    "stdout": text,
                    "stderr": "",
                    "return_code": code if code is not None else int(call.is_error),
                    "content": [],
                },
                MARK: mark,
            },
        )

    def recognise(self, use: Json, result: Json) -> Call | None:
        """The call behind a pair, or None when it does not carry this gateway's seal for this subject."""
        mark = result.get(MARK)
        body = result.get("content")
        if not isinstance(mark, dict) or not isinstance(body, dict):
            return None
        content = mark.get("content", body.get("stdout"))
        step = mark.get("step")
        server_id = use.get("id")
        if not isinstance(step, int) or not isinstance(content, str | list) or not isinstance(server_id, str):
            return None
        call = Call(
            id=_call_id(server_id),
            name=str(use.get("name")),
            arguments=use.get("input"),
            content=content,
            is_error=mark.get("error") is True,
            step=step,
        )
        holds = self._sealer.holds(
            mark.get("seal"), self._subject, call.id, call.name, call.arguments, _sealed_result(call)
        )
        return call if holds else None

    def _seal(self, call: Call) -> str:
        return self._sealer.seal(self._subject, call.id, call.name, call.arguments, _sealed_result(call))


def quoted(use: Json, result: Json | None) -> str:
    """An unsealed record as plain text: the model may read it, but not as something that happened."""
    shown = {"call": use.get("name"), "input": use.get("input")}
    if result is not None:
        shown["result"] = result.get("content")
    return (
        "[A record of a tool call that this gateway did not issue, quoted as text: "
        + msgspec.json.encode(shown).decode()
        + "]"
    )


def _sealed_result(call: Call) -> list[Any]:
    return [call.content, call.is_error, call.step]


def _server_id(call_id: str) -> str:
    return "srvtoolu_" + call_id.removeprefix("toolu_")


def _call_id(server_id: str) -> str:
    return "toolu_" + server_id.removeprefix("srvtoolu_")
