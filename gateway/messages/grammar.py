"""The order in which events of one Messages stream may come.

A pure state machine over events: knows the grammar, not where events come from or go to.
"""

from gateway.messages.events import (
    CONTENT_BLOCK_DELTA,
    CONTENT_BLOCK_START,
    CONTENT_BLOCK_STOP,
    DELTA_FIELDS,
    MESSAGE_DELTA,
    MESSAGE_START,
    MESSAGE_STOP,
    Event,
    delta_fits,
)

__all__ = ["Grammar", "StreamBroken"]


class StreamBroken(Exception):
    """The stream is no Messages stream, or ended too early. `reason` is for logs, not for clients."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Grammar:
    """Feed it every event in turn with `check`; it raises `StreamBroken` at the first that cannot follow.

    Unknown events pass. A `message_delta` may come any time after the start (gateways send it as a sign of
    life); at most one block is open at a time, with indices 0, 1, 2, ...
    """

    def __init__(self) -> None:
        self.started = False
        self.finished = False
        self.blocks = 0
        self.open_type: str | None = None

    def check(self, event: Event) -> None:
        step = _STEPS.get(event.name)
        if step is None:
            return
        if self.finished:
            raise StreamBroken(f"{event.name} after message_stop")
        if event.name != MESSAGE_START and not self.started:
            raise StreamBroken(f"{event.name} before message_start")
        step(self, event)

    def _message_start(self, event: Event) -> None:
        if self.started:
            raise StreamBroken("a second message_start")
        message = event.data.get("message")
        if not isinstance(message, dict):
            raise StreamBroken("message_start without a message")
        _object_or_absent(message, "usage", MESSAGE_START)
        if message.get("content") not in (None, []):
            raise StreamBroken("message_start: content is not an empty list")
        self.started = True

    def _block_start(self, event: Event) -> None:
        index = _index(event)
        if self.open_type is not None:
            raise StreamBroken(f"block {index} starts while block {self.blocks - 1} is open")
        if index != self.blocks:
            raise StreamBroken(f"block {index} starts where {self.blocks} is next")
        block = event.data.get("content_block")
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise StreamBroken(f"block {index} has no type")
        for name in ("id", "name"):
            if block["type"] == "tool_use" and not (isinstance(block.get(name), str) and block[name]):
                raise StreamBroken(f"block {index}: tool_use without {name}")
        self.open_type = block["type"]
        self.blocks += 1

    def _block_delta(self, event: Event) -> None:
        block_type = self._open(event)
        delta = event.data.get("delta")
        if not isinstance(delta, dict) or not isinstance(delta.get("type"), str):
            raise StreamBroken("content_block_delta without a typed delta")
        kind = delta["type"]
        if not delta_fits(block_type, kind):
            raise StreamBroken(f"{kind} in a {block_type} block")
        field = DELTA_FIELDS.get(kind)
        if field is not None and not isinstance(delta.get(field), str):
            raise StreamBroken(f"{kind} without a string {field}")
        if kind == "citations_delta" and not isinstance(delta.get("citation"), dict):
            raise StreamBroken("citations_delta without a citation")

    def _block_stop(self, event: Event) -> None:
        self._open(event)
        self.open_type = None

    def _message_delta(self, event: Event) -> None:
        _object_or_absent(event.data, "delta", MESSAGE_DELTA)
        _object_or_absent(event.data, "usage", MESSAGE_DELTA)
        reason = (event.data.get("delta") or {}).get("stop_reason")
        if reason is not None and not isinstance(reason, str):
            raise StreamBroken("message_delta: stop_reason is not a string")

    def _message_stop(self, event: Event) -> None:
        if self.open_type is not None:
            raise StreamBroken(f"message_stop while block {self.blocks - 1} is open")
        self.finished = True

    def _open(self, event: Event) -> str:
        index = _index(event)
        if self.open_type is None or index != self.blocks - 1:
            raise StreamBroken(f"{event.name} for block {index}, which is not open")
        return self.open_type


_STEPS = {
    MESSAGE_START: Grammar._message_start,
    CONTENT_BLOCK_START: Grammar._block_start,
    CONTENT_BLOCK_DELTA: Grammar._block_delta,
    CONTENT_BLOCK_STOP: Grammar._block_stop,
    MESSAGE_DELTA: Grammar._message_delta,
    MESSAGE_STOP: Grammar._message_stop,
}


def _index(event: Event) -> int:
    index = event.data.get("index")
    if isinstance(index, bool) or not isinstance(index, int):
        raise StreamBroken(f"{event.name} without an index")
    return index


def _object_or_absent(data: dict[str, object], name: str, where: str) -> None:
    if not isinstance(data.get(name) or {}, dict):
        raise StreamBroken(f"{where}: {name} is not an object")
