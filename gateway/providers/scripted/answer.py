"""Makes the model's message from a turn of the script.

Ids come from the request's digest: the same request gets the same ids, no two requests of a session share one.
"""

import hashlib
from typing import Any

from gateway.messages import jsonbytes
from gateway.providers.scripted.conversation import Asked, Place
from gateway.providers.scripted.scenario import BlockScript, Turn
from gateway.providers.scripted.strictness import signature
from gateway.providers.scripted.template import fill

__all__ = ["message_for"]

_BYTES_PER_TOKEN = 4


def message_for(asked: Asked, place: Place) -> dict[str, Any]:
    """The whole message, as a non-streamed answer has it."""
    turn = place.turn
    scripts = turn.blocks or ([BlockScript(text=turn.text)] if turn.text is not None else [])
    content = [_block(script, nth, asked, place) for nth, script in enumerate(scripts)]
    return {
        "id": "msg_" + _id(asked, place, "message"),
        "type": "message",
        "role": "assistant",
        "model": asked.request.model,
        "content": content,
        "stop_reason": _stop_reason(turn, content),
        "stop_sequence": turn.stop_sequence,
        "usage": _usage(turn, asked, content),
        **fill(turn.message, asked, place),
    }


def _block(script: BlockScript, nth: int, asked: Asked, place: Place) -> dict[str, Any]:
    if script.text is not None:
        return {"type": "text", "text": fill(script.text, asked, place)}
    if script.thinking is not None:
        thinking = fill(script.thinking, asked, place)
        signed = script.signature if script.signature is not None else signature(thinking)
        return {"type": "thinking", "thinking": thinking, "signature": signed}
    if script.tool_use is not None:
        call = script.tool_use
        identity = call.id or "toolu_" + _id(asked, place, f"block {nth}")
        return {
            "type": "tool_use",
            "id": identity,
            "name": call.name,
            "input": fill(call.input, asked, place),
        }
    filled: dict[str, Any] = fill(script.raw, asked, place)
    return filled


def _id(asked: Asked, place: Place, what: str) -> str:
    seed = f"{place.conversation.name}\n{place.step}\n{asked.digest}\n{what}"
    return hashlib.sha256(seed.encode()).hexdigest()[:24]


def _stop_reason(turn: Turn, content: list[dict[str, Any]]) -> str:
    if turn.stop_reason is not None:
        return turn.stop_reason
    if turn.stop_sequence is not None:
        return "stop_sequence"
    return "tool_use" if any(block["type"] == "tool_use" for block in content) else "end_turn"


def _usage(turn: Turn, asked: Asked, content: list[dict[str, Any]]) -> dict[str, Any]:
    counted = {
        "input_tokens": max(1, len(asked.body) // _BYTES_PER_TOKEN),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": max(1, len(jsonbytes.encode(content)) // _BYTES_PER_TOKEN),
    }
    return {**counted, **turn.usage}
