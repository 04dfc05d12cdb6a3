"""A Messages request as the body of a chat completion, and what its answer must be read with.

Pure: the same request, dialect and model give the same bytes, so that the server's prefix cache holds. Must not
know HTTP or events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.messages import jsonbytes
from gateway.messages.pairing import check_pairing
from gateway.messages.request import MessagesRequest
from gateway.providers.chat.conversation import Conversation, call_ids, called_names
from gateway.providers.chat.dialects import Dialect
from gateway.providers.chat.identity import CallIds, Names
from gateway.providers.chat.thinking import Intent, asking, intent_of
from gateway.providers.chat.tools import Function, Offer, functions_of, offer

__all__ = ["ChatRequest", "Reading", "to_chat"]

_FORMAT = "answer"
_JSON_TOOL = "answer_in_json"


@dataclass(frozen=True, slots=True)
class Reading:
    """What the request says about its answer.

    `names` and `ids` translate calls back. `stops`: every stop sequence the client gave; `enforced`: those the
    server was not told. `one_call`: nothing after the first call. `silent`: no sampling was asked for
    (max_tokens 0), nothing is shown. `thinking`: "text", "omitted" (blocks without text) or "hidden".
    `json_tool`: the tool whose arguments are the answer's text.
    """

    dialect: Dialect
    names: Names
    ids: CallIds
    upstream: str = ""
    model: str = ""
    stops: tuple[str, ...] = ()
    enforced: tuple[str, ...] = ()
    one_call: bool = False
    silent: bool = False
    thinking: str = "text"
    json_tool: str | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """`fields`: the body. `streams` False: the answer is asked for whole."""

    fields: dict[str, Any]
    reading: Reading
    streams: bool = True
    _limit_field: str = field(default="max_tokens", repr=False)

    @property
    def max_tokens(self) -> int:
        """The most output tokens asked for."""
        limit: int = self.fields[self._limit_field]
        return limit

    def limited(self, max_tokens: int) -> "ChatRequest":
        """The same request for a shorter answer."""
        return replace(self, fields={**self.fields, self._limit_field: max_tokens})

    def encode(self) -> bytes:
        return jsonbytes.encode(self.fields)


def to_chat(
    request: MessagesRequest, dialect: Dialect, *, upstream: str = "", model: str = "", names_model: bool = True
) -> ChatRequest:
    """The chat request for one model of `upstream`; `model` "" means the request's own.

    `names_model` False leaves the model out of the body, for URLs that name it. Raises `InvalidRequest` where
    calls and results do not pair up.
    """
    check_pairing(request.messages)
    model = model or request.model
    dialect = dialect.for_model(model)
    functions = functions_of(request)
    names = Names(dialect, [*(function.name for function in functions), *called_names(request)])
    ids = CallIds(dialect, call_ids(request))
    wanted = _format(request)
    json_tool = wanted is not None and dialect.response_format == "tool" and not functions
    offered = (
        _forced(wanted, dialect)
        if wanted is not None and json_tool
        else offer(functions, request.tool_choice, dialect, names, called_names(request))
    )
    conversation = Conversation(request, dialect, names, ids, upstream, model)
    manual = _in_words(wanted) if wanted is not None and not json_tool else ""
    messages = conversation.lay_out(offered.manual, manual if _needs_words(dialect) else "")
    intent = _feasible(intent_of(request), request, dialect, conversation, forced=json_tool)
    limit = max(1, min(request.max_tokens, dialect.max_output_tokens or request.max_tokens))
    stops = _stops(request)
    streams = not (offered.fields and not dialect.streams_tools) and not (wanted and not dialect.streams_format)

    fields: dict[str, Any] = {"model": model} if names_model else {}
    fields["messages"] = messages
    fields |= offered.fields
    fields[dialect.max_tokens_field] = limit
    fields |= _sampling(request, dialect, intent)
    if stops and dialect.stop_limit:
        fields["stop"] = list(stops[: dialect.stop_limit])
    if wanted is not None and not json_tool:
        fields |= _response_format(wanted, dialect)
    fields |= asking(intent, dialect, limit)
    if conversation.prefilled:
        fields |= dialect.prefill_body
    fields["stream"] = streams
    if streams and dialect.stream_usage:
        fields["stream_options"] = {"include_usage": True}

    reading = Reading(
        dialect=dialect,
        names=names,
        ids=ids,
        upstream=upstream,
        model=model,
        stops=stops,
        enforced=stops[dialect.stop_limit :],
        one_call=offered.one_call,
        silent=request.max_tokens == 0,
        thinking=_shown(intent_of(request)),
        json_tool=_JSON_TOOL if json_tool else None,
    )
    return ChatRequest(fields, reading, streams, dialect.max_tokens_field)


def _shown(intent: Intent) -> str:
    if intent.mode == "off":
        return "hidden"
    return "omitted" if intent.omitted else "text"


def _feasible(
    intent: Intent, request: MessagesRequest, dialect: Dialect, conversation: Conversation, *, forced: bool
) -> Intent:
    """The intent without what the server would refuse: reasoning by budget together with a forced call, and
    reasoning inside a tool loop whose earlier reasoning is not ours to send back."""
    choice = (request.tool_choice or {}).get("type")
    if "budget" in dialect.asks and (forced or choice in ("any", "tool")):
        return replace(intent, mode="off")
    if conversation.lacks_reasoning and {"budget", "switch"} & set(dialect.asks):
        return replace(intent, mode="off")
    return intent


def _sampling(request: MessagesRequest, dialect: Dialect, intent: Intent) -> dict[str, Any]:
    if not dialect.sampling or ("budget" in dialect.asks and intent.mode == "on"):
        return {}
    wanted = ("temperature", "top_p", "top_k") if dialect.top_k else ("temperature", "top_p")
    found = ((name, request.get(name)) for name in wanted)
    return {name: value for name, value in found if isinstance(value, int | float) and not isinstance(value, bool)}


def _stops(request: MessagesRequest) -> tuple[str, ...]:
    given = request.get("stop_sequences")
    texts = (text for text in (given if isinstance(given, list) else []) if isinstance(text, str) and text)
    return tuple(dict.fromkeys(texts))


def _format(request: MessagesRequest) -> Mapping[str, Any] | None:
    """The JSON Schema the answer must follow; None for free text."""
    for config in (request.get("output_config"), {"format": request.get("output_format")}):
        wanted = config.get("format") if isinstance(config, dict) else None
        if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and isinstance(wanted.get("schema"), dict):
            schema: Mapping[str, Any] = wanted["schema"]
            return schema
    return None


def _needs_words(dialect: Dialect) -> bool:
    return dialect.response_format != "json_schema"


def _in_words(schema: Mapping[str, Any]) -> str:
    text = jsonbytes.encode(schema).decode()
    return (
        f"Answer with one JSON object and nothing else: no code fence, no remark. It must fit this JSON Schema:\n{text}"
    )


def _response_format(schema: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    match dialect.response_format:
        case "json_schema":
            named = {"name": _FORMAT, "schema": schema, "strict": _strict(schema)}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
    return {}


def _strict(schema: Any) -> bool:
    """Whether the schema obeys the rules of strict mode: closed objects with every property required."""
    if isinstance(schema, list):
        return all(map(_strict, schema))
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if isinstance(properties, dict):
        required = schema.get("required")
        complete = isinstance(required, list) and set(properties) == {str(name) for name in required}
        if schema.get("additionalProperties") is not False or not complete:
            return False
        return all(map(_strict, properties.values())) and _strict([v for k, v in schema.items() if k != "properties"])
    return schema.get("type") != "object" and all(map(_strict, schema.values()))


def _forced(schema: Mapping[str, Any], dialect: Dialect) -> Offer:
    answer = Function(_JSON_TOOL, "Gives the answer. Call it once, with the whole answer as its arguments.", schema)
    choice = {"type": "tool", "name": _JSON_TOOL, "disable_parallel_tool_use": True}
    return offer(_one(answer), choice, dialect, Names(dialect, [_JSON_TOOL]))


def _one(function: Function) -> Sequence[Function]:
    return [function]
