"""Says what an OpenAI-style server would refuse in a chat request: a plain function over plain data.

Besides the server's own rules it finds what must never reach any of them: leftovers of the Messages API and the
gateway's own marks. Knows no sockets and no scenarios.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.upstreams.chat_rules import RULES, ChatRules

__all__ = ["complaints"]

Json = dict[str, Any]

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_MESSAGE_FIELDS = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "refusal", "audio"},
    "tool": {"role", "content", "tool_call_id", "name"},
}
_PART_FIELDS = {
    "text": {"type", "text"},
    "image_url": {"type", "image_url"},
    "input_audio": {"type", "input_audio"},
    "file": {"type", "file"},
    "refusal": {"type", "refusal"},
    "reasoning": {"type", "summary"},
    "thinking": {"type", "thinking", "closed"},
}
_USER_PARTS = frozenset({"text", "image_url", "input_audio", "file"})
_DATA_URL = re.compile(r"data:image/(jpeg|png|gif|webp);base64,[A-Za-z0-9+/]+=*")
_OWN_FIELDS = frozenset({"gateway", "display_only"})
_OWN_MARKS = ("bh1.", "x-anthropic-billing-header")
_PASTED = (
    (re.compile(r'"type"\s*:\s*"base64"'), "a source of the Messages API pasted as text"),
    (re.compile(r"iVBORw0KGgo[A-Za-z0-9+/]{20}|JVBERi0x[A-Za-z0-9+/]{20}"), "a file pasted as base64 text"),
)


def complaints(body: Mapping[str, Any], dialect: str) -> list[str]:
    """What the server of this dialect (a key of `chat_rules.RULES`) would refuse; empty when it would answer.

    Each complaint begins with the path of the fault.
    """
    rules = RULES[dialect]
    found = [*_top(body, rules), *_leaks(body, "")]
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return [*found, "messages: a list of at least one message is required"]
    if not all(isinstance(message, dict) for message in messages):
        return [*found, "messages: each one must be an object"]
    cached = dialect.startswith(("databricks", "openrouter"))
    found += [text for at, one in enumerate(messages) for text in _message(one, f"messages.{at}", rules, cached=cached)]
    found += _order(messages, rules, str(body.get("model", "claude")))
    return [*found, *_tools(body, rules)]


def _top(body: Mapping[str, Any], rules: ChatRules) -> Iterator[str]:
    known = rules.fields
    for name in body:
        if (known is not None and name not in known) or name in rules.refused or (name == "model" and not rules.model):
            yield f"{name}: extra inputs are not permitted"
    if rules.model and (not isinstance(body.get("model"), str) or not body["model"]):
        yield "model: field required"
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1)):
        value = body.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high
        ):
            yield f"{name}: must be a number from {low} to {high}"
    for name in ("max_tokens", "max_completion_tokens", "top_k", "n"):
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            yield f"{name}: must be a whole number of at least 1"
    if "max_tokens" in body and "max_completion_tokens" in body:
        yield "max_tokens: may not be given together with max_completion_tokens"
    if not isinstance(body.get("stream", False), bool):
        yield "stream: must be a boolean"
    if body.get("stream_options") is not None:
        if not body.get("stream") and not rules.options_without_stream:
            yield "stream_options: only allowed when stream is enabled"
        if not isinstance(body["stream_options"], dict) or not body["stream_options"].keys() <= {
            "include_usage",
            "include_obfuscation",
        }:
            yield "stream_options: unknown option"
    effort = body.get("reasoning_effort")
    if effort is not None and rules.efforts is not None and effort not in rules.efforts:
        yield f"reasoning_effort: {effort!r} is none of {', '.join(sorted(rules.efforts))}"
    yield from _stop(body.get("stop"), rules)
    yield from _thinking(body)


def _stop(stop: object, rules: ChatRules) -> Iterator[str]:
    if stop is None:
        return
    items = [stop] if isinstance(stop, str) else stop
    if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
        yield "stop: must be a text or a list of texts"
    elif rules.stops is not None and len(items) > rules.stops:
        yield f"stop: at most {rules.stops} sequences, not {len(items)}"


def _thinking(body: Mapping[str, Any]) -> Iterator[str]:
    """What Databricks passes to Claude."""
    thinking = body.get("thinking")
    if thinking is None:
        return
    if not isinstance(thinking, dict) or thinking.get("type") not in ("enabled", "disabled", "adaptive"):
        yield "thinking: must have a type enabled, disabled or adaptive"
        return
    budget = thinking.get("budget_tokens")
    if thinking["type"] == "enabled":
        if not isinstance(budget, int) or budget < 1024:
            yield "thinking.budget_tokens: must be at least 1024"
        elif isinstance(body.get("max_tokens"), int) and body["max_tokens"] <= budget:
            yield "max_tokens: must be greater than thinking.budget_tokens"


def _message(message: Json, path: str, rules: ChatRules, *, cached: bool) -> Iterator[str]:
    role = message.get("role")
    if not isinstance(role, str) or role not in rules.roles:
        yield f"{path}.role: {role!r} is none of {', '.join(sorted(rules.roles))}"
        return
    if rules.strict_objects:
        extra = message.keys() - _MESSAGE_FIELDS[role] - rules.extra_message_fields
        yield from (f"{path}.{name}: extra inputs are not permitted" for name in sorted(extra))
    if role == "user" and "name" in message and not rules.name_on_user:
        yield f"{path}.name: extra inputs are not permitted"
    calls = message.get("tool_calls")
    if calls is not None and role != "assistant":
        yield f"{path}.tool_calls: only an assistant calls tools"
    content = message.get("content")
    if content is None:
        if role != "assistant" or not (calls or message.get("refusal")):
            yield f"{path}.content: content or tool_calls must be given"
    elif isinstance(content, str):
        yield from _text(content, f"{path}.content", role, rules, optional=bool(calls))
    elif isinstance(content, list):
        if not content:
            yield f"{path}.content: an empty list"
        for nth, part in enumerate(content):
            yield from _part(part, f"{path}.content.{nth}", role, rules, cached=cached)
    else:
        yield f"{path}.content: must be a text or a list of parts"
    if role == "assistant" and calls is not None:
        yield from _calls(calls, path, rules)
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        yield f"{path}.tool_call_id: field required"


def _text(text: str, path: str, role: str, rules: ChatRules, *, optional: bool = False) -> Iterator[str]:
    if not text.strip() and not rules.blank_text:
        yield f"{path}: text content must be non-empty"
    elif not text and role == "assistant" and not optional:
        yield f"{path}: an assistant message with neither content nor tool_calls"
    for pattern, what in _PASTED if role == "tool" else ():
        if pattern.search(text):
            yield f"{path}: {what}"


def _part(part: object, path: str, role: str, rules: ChatRules, *, cached: bool) -> Iterator[str]:
    if not isinstance(part, dict):
        yield f"{path}: must be an object"
        return
    kind = part.get("type")
    allowed = {"user": _USER_PARTS, "assistant": rules.assistant_parts, "tool": rules.tool_parts}.get(
        role, frozenset({"text"})
    )
    if kind not in allowed:
        yield f"{path}.type: {kind!r} is none of {', '.join(sorted(allowed))} in a message of role {role}"
        return
    known = _PART_FIELDS[kind] | ({"cache_control"} if cached and kind in ("text", "image_url") else set())
    if rules.strict_objects:
        yield from (f"{path}.{name}: extra inputs are not permitted" for name in sorted(part.keys() - known))
    if kind == "text":
        if not isinstance(part.get("text"), str):
            yield f"{path}.text: field required"
        else:
            yield from _text(part["text"], f"{path}.text", role, rules, optional=True)
    elif kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else None
        if not isinstance(url, str):
            yield f"{path}.image_url.url: field required"
        elif url.startswith("data:") and not _DATA_URL.fullmatch(url):
            yield f"{path}.image_url.url: no base64 image"
        elif not url.startswith("data:") and not (rules.remote_images and url.startswith(("https://", "http://"))):
            yield f"{path}.image_url.url: only base64 images"


def _calls(calls: object, path: str, rules: ChatRules) -> Iterator[str]:
    if not isinstance(calls, list) or not calls:
        yield f"{path}.tool_calls: must be a list of at least one call"
        return
    for nth, call in enumerate(calls):
        where = f"{path}.tool_calls.{nth}"
        if not isinstance(call, dict) or call.get("type", "function") != "function":
            yield f"{where}: must be a call of type function"
            continue
        if not isinstance(call.get("id"), str) or not re.fullmatch(rules.call_id, call["id"]):
            yield f"{where}.id: {call.get('id')!r} does not match {rules.call_id}"
        if rules.strict_objects and call.keys() - {"id", "type", "function", "index", "cache_control"}:
            yield f"{where}: extra inputs are not permitted: {sorted(call)}"
        function = call.get("function")
        if not isinstance(function, dict):
            yield f"{where}.function: field required"
            continue
        yield from _name(function.get("name"), f"{where}.function.name", rules)
        arguments = function.get("arguments")
        if not isinstance(arguments, str) or not _is_object(arguments):
            yield f"{where}.function.arguments: must be the text of a JSON object"
    ids = [call.get("id") for call in calls if isinstance(call, dict)]
    if len(ids) != len(set(map(str, ids))):
        yield f"{path}.tool_calls: an id twice"


def _name(name: object, path: str, rules: ChatRules) -> Iterator[str]:
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        yield f"{path}: {name!r} does not match {_TOOL_NAME.pattern}"
    elif len(name) > rules.tool_name:
        yield f"{path}: longer than {rules.tool_name} characters"


def _order(messages: Sequence[Json], rules: ChatRules, model: str) -> Iterator[str]:
    waiting: set[str] = set()
    before = ""
    begun = False
    pairs = rules.pairs_only and "claude" not in model.lower()
    for at, message in enumerate(messages):
        role = str(message.get("role"))
        path = f"messages.{at}"
        if role == "tool":
            identity = str(message.get("tool_call_id"))
            if before not in ("assistant", "tool"):
                yield f"{path}: a tool message must follow an assistant message with tool_calls"
            elif identity not in waiting:
                yield f"{path}.tool_call_id: no open call has the id {identity!r}"
            waiting.discard(identity)
        elif waiting:
            yield f"{path}: calls without a tool message directly after them: {', '.join(sorted(waiting))}"
            waiting = set()
        if role == "system" and begun and not rules.system_anywhere:
            yield f"{path}: a system message must be at the beginning"
        if role == "system" and before == "system" and not rules.system_anywhere:
            yield f"{path}: a second system message"
        if role == "user" and before == "tool" and not rules.user_after_tool:
            yield f"{path}: unexpected role 'user' after role 'tool'"
        if role == "assistant":
            calls = message.get("tool_calls")
            waiting = (
                {str(call.get("id")) for call in calls if isinstance(call, dict)} if isinstance(calls, list) else set()
            )
            if pairs and len(waiting) > 1:
                yield f"{path}.tool_calls: this model takes one call at a time"
        begun = begun or role not in ("system", "developer")
        before = role
    if waiting:
        yield f"messages: the last calls have no tool message: {', '.join(sorted(waiting))}"
    if before not in ("user", "tool", "system", "developer"):
        yield f"messages: expected the last role to be user or tool, not {before}"
    if not any(message.get("role") == "user" for message in messages):
        yield "messages: no user message"


def _tools(body: Mapping[str, Any], rules: ChatRules) -> Iterator[str]:
    tools = body.get("tools")
    choice = body.get("tool_choice")
    if tools is not None and (not isinstance(tools, list) or (not tools and not rules.empty_tools)):
        yield "tools: must be a list of at least one tool"
        tools = None
    if not tools and not rules.choice_without_tools:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None:
                yield f"{name}: only allowed when tools are given"
    names: list[str] = []
    for nth, tool in enumerate(tools or []):
        path = f"tools.{nth}"
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            yield f"{path}: must be a tool of type function"
            continue
        if rules.strict_objects and (
            tool.keys() - {"type", "function"} or function.keys() - {"name", "description", "parameters", "strict"}
        ):
            yield f"{path}: extra inputs are not permitted: {sorted({*tool, *function})}"
        yield from _name(function.get("name"), f"{path}.function.name", rules)
        names.append(str(function.get("name")))
        if not isinstance(function.get("description", ""), str):
            yield f"{path}.function.description: must be a text"
        parameters = function.get("parameters", {"type": "object"})
        if not isinstance(parameters, dict) or parameters.get("type") != "object":
            yield f"{path}.function.parameters: must be a schema of type object"
    if len(names) != len(set(names)):
        yield "tools: a name twice"
    yield from _choice(choice, names, rules)


def _choice(choice: object, names: Sequence[str], rules: ChatRules) -> Iterator[str]:
    if choice is None:
        return
    if isinstance(choice, str):
        if choice not in rules.choices:
            yield f"tool_choice: {choice!r} is none of {', '.join(sorted(rules.choices))}"
        return
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or choice.get("type") != "function" or not isinstance(function, dict):
        yield "tool_choice: must be a word or {type: function, function: {name}}"
    elif function.get("name") not in names:
        yield f"tool_choice.function.name: {function.get('name')!r} is not offered"


def _leaks(value: object, path: str) -> Iterator[str]:
    """Marks between the gateway and its client, and what only Anthropic may see, at any depth."""
    if isinstance(value, dict):
        for name, item in value.items():
            where = f"{path}.{name}" if path else str(name)
            if name in _OWN_FIELDS and not _in_schema(path):
                yield f"{where}: a field of the gateway's own"
            yield from _leaks(item, where)
    elif isinstance(value, list):
        for nth, item in enumerate(value):
            yield from _leaks(item, f"{path}.{nth}")
    elif isinstance(value, str):
        yield from (f"{path}: holds {mark}" for mark in _OWN_MARKS if value.startswith(mark))


def _in_schema(path: str) -> bool:
    """Whether a field stands in a tool's schema, where any property name is the client's choice."""
    return ".parameters" in path


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
