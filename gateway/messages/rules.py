"""Rules of the Messages API that need more than one field to check, as one table of small functions.

For upstreams that would not say it themselves, or not in words a client knows. Lenient wherever a known client
bends the documented rule; unknown fields and types are never a fault. Shape is checked in `request`, calls and
results in `pairing`, API versions in `versions`.
"""

from collections.abc import Callable, Iterator
from typing import Any

from gateway.messages.blocks import Block, Message
from gateway.messages.errors import InvalidRequest
from gateway.messages.request import MessagesRequest

__all__ = ["RULES", "check_rules", "refuse_threads", "thread_refusal"]

MAX_CACHE_MARKS = 4
MIN_THINKING_BUDGET = 1024

Complaints = Iterator[InvalidRequest]


def check_rules(request: MessagesRequest) -> None:
    """Raises `InvalidRequest`, in the API's words, for the first rule that the request breaks."""
    for rule in RULES:
        for complaint in rule(request):
            raise complaint


def refuse_threads(request: MessagesRequest) -> None:
    """Raises the 400 after which the official SDKs send the whole conversation again without `thread`.

    A gateway that ignored the field would answer without the history.
    """
    if request.get("thread") is not None:
        raise thread_refusal()


def thread_refusal() -> InvalidRequest:
    """The error that says: no threads here, send everything."""
    return InvalidRequest(
        "thread: message threads are not supported here; send the whole conversation",
        details={"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
    )


def _system_entries(request: MessagesRequest) -> Complaints:
    """System messages stand behind a user turn and before an assistant turn. Entries that only carry
    `output_config` may stand anywhere: Claude Code puts them where it likes."""
    roles = [message.role for message in request.messages]
    if "system" not in roles:
        return
    for at, message in enumerate(request.messages):
        if message.role != "system" or (not message.content and "output_config" in message.extra):
            continue
        path = f"messages.{at}"
        if not message.content and "output_config" not in message.extra:
            yield InvalidRequest(f"{path}: `system` messages must have content or an `output_config`")
        if roles[at - 1] == "system" and request.messages[at - 1].content:
            yield InvalidRequest(f"{path}: `system` messages may not follow one another")
        if roles[at - 1] == "assistant" and not _ended_in_server_tool(request.messages[at - 1]):
            yield InvalidRequest(f"{path}: a `system` message must follow a `user` message")
        if at + 1 < len(roles) and roles[at + 1] == "user":
            yield InvalidRequest(f"{path}: a `system` message must be last or be followed by an `assistant` message")


def _ended_in_server_tool(message: Message) -> bool:
    last = message.blocks[-1].type if message.blocks else ""
    return last in ("server_tool_use", "mcp_tool_use") or last.endswith("_tool_result")


def _texts(request: MessagesRequest) -> Complaints:
    """Only what the user's side wrote: blank text in assistant messages is what some model answered, and the
    client has no other choice than to send it back."""
    for at, message in enumerate(request.messages):
        if message.role == "user" and not message.content:
            yield InvalidRequest(f"messages.{at}: user messages must have non-empty content")
        if message.role == "assistant":
            continue
        if isinstance(message.content, str):
            if message.content:
                yield from _text(message.content, f"messages.{at}.content.0")
            continue
        for nth, block in enumerate(message.content):
            if block.type == "text":
                yield from _text(block.get("text"), f"messages.{at}.content.{nth}")
    for nth, block in enumerate(request.system_blocks):
        yield from _text(block.get("text"), f"system.{nth}")


def _text(text: object, path: str) -> Complaints:
    if not isinstance(text, str):
        yield InvalidRequest(f"{path}.text.text: Field required")
    elif not text:
        yield InvalidRequest(f"{path}: text content blocks must be non-empty")
    elif text.isspace():
        yield InvalidRequest(f"{path}: text content blocks must contain non-whitespace text")


def _cache_marks(request: MessagesRequest) -> Complaints:
    if sum(bytes(raw).count(b'"cache_control"') for raw in request.fields.values()) < MAX_CACHE_MARKS:
        return  # one more may be the field of the request itself
    found = int(request.get("cache_control") is not None)
    found += sum(1 for tool in request.tools if _marked(bytes(tool.raw)) and tool.get("cache_control"))
    found += sum(1 for block in request.system_blocks if _marked(bytes(block.raw)) and block.get("cache_control"))
    for message in request.messages:
        if message.raw is None or _marked(bytes(message.raw)):
            found += sum(_marks_of(block.data) for block in message.blocks)
    if found > MAX_CACHE_MARKS:
        yield InvalidRequest(
            f"A maximum of {MAX_CACHE_MARKS} blocks with cache_control may be provided. Found {found}."
        )


def _marked(raw: bytes) -> bool:
    return b'"cache_control"' in raw


def _marks_of(block: dict[str, Any]) -> int:
    content = block.get("content") if block.get("type") == "tool_result" else None
    inner = content if isinstance(content, list) else []
    return sum(1 for item in (block, *inner) if isinstance(item, dict) and item.get("cache_control"))


def _stop_sequences(request: MessagesRequest) -> Complaints:
    sequences = request.get("stop_sequences")
    if sequences is not None and not isinstance(sequences, list):
        yield InvalidRequest("stop_sequences: Input should be a valid list")
        return
    for at, text in enumerate(sequences or ()):
        if not isinstance(text, str):
            yield InvalidRequest(f"stop_sequences.{at}: Input should be a valid string")
        elif not text.strip():
            yield InvalidRequest(f"stop_sequences.{at}: each stop sequence must contain non-whitespace")


def _thinking(request: MessagesRequest) -> Complaints:
    thinking = request.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return
    budget = thinking.get("budget_tokens")
    if isinstance(budget, bool) or not isinstance(budget, int):
        yield InvalidRequest("thinking.enabled.budget_tokens: Field required")
    elif budget < MIN_THINKING_BUDGET:
        yield InvalidRequest(
            f"thinking.enabled.budget_tokens: Input should be greater than or equal to {MIN_THINKING_BUDGET}"
        )
    elif 0 < request.max_tokens <= budget:  # 0 asks for no answer, only for a warm cache
        yield InvalidRequest("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if (request.tool_choice or {}).get("type") in ("any", "tool"):
        yield InvalidRequest("Thinking may not be enabled when tool_choice forces tool use.")


def _tool_choice(request: MessagesRequest) -> Complaints:
    choice = request.tool_choice or {}
    if choice.get("type") not in ("any", "tool"):
        return
    if not request.tools:
        yield InvalidRequest("tool_choice: may only be specified while providing `tools`")
    elif choice["type"] == "tool" and _closed(request) and str(choice.get("name")) not in _names(request):
        yield InvalidRequest(f"Tool '{choice.get('name')}' not found in provided tools")


def _deferred_tools(request: MessagesRequest) -> Complaints:
    """The placeholder of Claude Code stands for tools that will come, so a list of it alone is no fault."""
    tools = request.tools
    if not tools or b"defer_loading" not in bytes(tools[0].raw):
        return
    deferred = [b"defer_loading" in bytes(tool.raw) and tool.get("defer_loading") is True for tool in tools]
    if tools and all(deferred) and any(tool.name != "DeferredToolPlaceholder" for tool in tools):
        yield InvalidRequest("tools: at least one tool must have defer_loading=false")


def _tool_references(request: MessagesRequest) -> Complaints:
    if b"tool_reference" not in bytes(request.fields["messages"]) or not _closed(request):
        return
    names = _names(request)
    for message in request.messages:
        if message.role != "user" or (message.raw is not None and b"tool_reference" not in bytes(message.raw)):
            continue
        for name in _referenced(message):
            if name not in names:
                yield InvalidRequest(
                    f"Tool reference '{name}' not found in available tools",
                    details={"error_code": "tool_reference_unresolved"},
                )


def _referenced(message: Message) -> Iterator[str]:
    for block in message.blocks:
        content = block.get("content") if block.type == "tool_result" else None
        for item in content if isinstance(content, list) else ():
            if isinstance(item, dict) and item.get("type") == "tool_reference":
                yield str(item.get("tool_name"))


def _names(request: MessagesRequest) -> frozenset[str]:
    """Tools by name: those of the list and those that a system message defines in mid-conversation."""
    names = {tool.name for tool in request.tools}
    for message in request.messages:
        if message.role == "system":
            names |= {name for block in message.blocks if (name := _defined(block))}
    return frozenset(names)


def _defined(block: Block) -> str | None:
    tool = block.get("tool") if block.type == "tool_addition" else None
    definition = tool.get("definition") if isinstance(tool, dict) else None
    name = definition.get("name") if isinstance(definition, dict) else None
    return name if isinstance(name, str) else None


def _closed(request: MessagesRequest) -> bool:
    """Whether every tool has its name in the request; toolsets and MCP servers bring names of their own."""
    return all(tool.name for tool in request.tools) and "mcp_servers" not in request.fields


RULES: tuple[Callable[[MessagesRequest], Complaints], ...] = (
    _system_entries,
    _texts,
    _cache_marks,
    _stop_sequences,
    _thinking,
    _tool_choice,
    _deferred_tools,
    _tool_references,
)
"""Every rule, in the order in which they are told."""
