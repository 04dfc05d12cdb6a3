"""What one chunk of a chat answer says, in whichever of the known forms it says it.

Pure: a decoded chunk (or a whole answer, whose message counts as one large delta) to pieces. Must not know what
came before.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gateway.messages import jsonbytes

__all__ = ["Fragment", "Piece", "choice_of", "fragments_of", "pieces_of", "stop_named", "usage_of"]

_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
_DETAIL_TEXTS = ("text", "summary")


class Piece(NamedTuple):
    """`value` is a string, for `details` a list of objects that go back to the server as they are."""

    kind: Literal["reasoning", "signature", "details", "text", "refusal"]
    value: Any


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a tool call. `whole`: the arguments came as an object, so nothing can follow them."""

    index: int | None = None
    id: str = ""
    name: str = ""
    arguments: str = ""
    whole: bool = False


def choice_of(chunk: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first answer of the chunk; None where it has none."""
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("index", 0) in (0, None):
            return choice
    return None


def usage_of(chunk: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The chunk's token counts."""
    usage = chunk.get("usage")
    if not isinstance(usage, dict):
        extension = chunk.get("x_groq")
        usage = extension.get("usage") if isinstance(extension, dict) else None
    return usage if isinstance(usage, dict) and usage else None


def stop_named(choice: Mapping[str, Any]) -> str | None:
    """The stop sequence that matched, where the server says so (vLLM, SGLang)."""
    for name in ("stop_reason", "matched_stop"):
        named = choice.get(name)
        if isinstance(named, str) and named:
            return named
    return None


def pieces_of(choice: Mapping[str, Any]) -> Iterator[Piece]:
    """Reasoning, text and refusal, in the order in which they belong."""
    delta = _delta(choice)
    details = delta.get("reasoning_details")
    shown = next((text for name in _REASONING_FIELDS if isinstance(text := delta.get(name), str) and text), "")
    if isinstance(details, list) and details:
        records = [item for item in details if isinstance(item, dict)]
        shown = shown or "".join(_detail_text(item) for item in records)
        yield Piece("details", records)
    if shown:
        yield Piece("reasoning", shown)
    content = delta.get("content")
    if content is None:
        content = choice.get("text")
    if isinstance(content, str):
        if content:
            yield Piece("text", content)
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict):
                yield from _part(part)
    refusal = delta.get("refusal")
    if isinstance(refusal, str) and refusal:
        yield Piece("refusal", refusal)


def _delta(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("delta", "message"):
        found = choice.get(name)
        if isinstance(found, dict):
            return found
    return {}


def _detail_text(item: Mapping[str, Any]) -> str:
    return next((text for name in _DETAIL_TEXTS if isinstance(text := item.get(name), str)), "")


def _part(part: Mapping[str, Any]) -> Iterator[Piece]:
    """One part of a content list (Databricks, Mistral)."""
    match part.get("type"):
        case "text" | "output_text":
            yield from _texts("text", part.get("text"))
        case "reasoning":
            summary = part.get("summary")
            for item in summary if isinstance(summary, list) else (part,):
                if isinstance(item, dict):
                    yield from _texts("reasoning", item.get("text"))
                    yield from _texts("signature", item.get("signature"))
        case "thinking":
            thoughts = part.get("thinking")
            for item in thoughts if isinstance(thoughts, list) else (thoughts,):
                yield from _texts("reasoning", item.get("text") if isinstance(item, dict) else item)
        case "refusal":
            yield from _texts("refusal", part.get("refusal"))


def _texts(kind: Literal["reasoning", "signature", "text", "refusal"], text: object) -> Iterator[Piece]:
    if isinstance(text, str) and text:
        yield Piece(kind, text)


def fragments_of(choice: Mapping[str, Any]) -> Iterator[Fragment]:
    """The pieces of tool calls, the older single `function_call` included."""
    delta = _delta(choice)
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            yield _fragment(call, call.get("function"))
    older = delta.get("function_call")
    if isinstance(older, dict):
        yield _fragment({"index": 0}, older)


def _fragment(call: Mapping[str, Any], function: object) -> Fragment:
    function = function if isinstance(function, dict) else call
    index, call_id, name = call.get("index"), call.get("id"), function.get("name")
    arguments = function.get("arguments")
    whole = isinstance(arguments, dict | list)
    return Fragment(
        index if isinstance(index, int) and not isinstance(index, bool) else None,
        call_id if isinstance(call_id, str) else "",
        name if isinstance(name, str) else "",
        jsonbytes.encode(arguments).decode() if whole else arguments if isinstance(arguments, str) else "",
        whole,
    )
