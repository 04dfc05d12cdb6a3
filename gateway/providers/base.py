"""The seam between the gateway and a model: one protocol, and every way it can fail.

A provider takes an encoded Messages request and yields Messages events, whatever its upstream speaks.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.messages.errors import ApiError
from gateway.messages.events import Event
from gateway.messages.request import MessagesRequest

__all__ = [
    "FORWARDED_HEADERS",
    "Provider",
    "RawStream",
    "RelayProvider",
    "UpstreamBroken",
    "UpstreamError",
    "UpstreamFailure",
    "UpstreamRequest",
    "UpstreamStream",
    "UpstreamTimeout",
    "refused_credential",
]

FORWARDED_HEADERS = ("anthropic-version", "anthropic-beta")
"""The only headers of a client that ever reach an upstream."""


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One model call.

    `body` is an encoded Messages request as the client's API version words it. Of `headers` (lower-case
    names) only `FORWARDED_HEADERS` are used. `request_id` is ours, for logs. `model` is the upstream's name
    of the model; "" leaves the one in the body.
    """

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""
    model: str = ""
    foreign_reasoning: bool | None = None
    """Whether a block holds reasoning that the gateway signed for some upstream; None where nobody looked."""

    @classmethod
    def of(
        cls,
        request: MessagesRequest,
        headers: Mapping[str, str],
        request_id: str,
        *,
        drop: tuple[str, ...] = (),
        **fields: object,
    ) -> "UpstreamRequest":
        """The request with `fields` replaced and `drop` left out, always asking for a stream."""
        return cls(request.encode(drop=drop, **{**fields, "stream": True}), headers, request_id)


class UpstreamStream(Protocol):
    """A running answer.

    `headers`: what the upstream's answer said about itself (its request-id). Iterating yields events that
    have passed the grammar, `message_start` first, and ends after `message_stop`; anything else raises an
    `UpstreamFailure`. An `error` event is never yielded: it raises `UpstreamError`.
    """

    @property
    def headers(self) -> Mapping[str, str]: ...

    def __aiter__(self) -> AsyncIterator[Event]: ...


class Provider(Protocol):
    """A model behind one API. Safe for concurrent use. Every method may raise `UpstreamFailure`."""

    @property
    def name(self) -> str:
        """For logs, metrics and audit."""
        ...

    def stream(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamStream]:
        """Enters when the first event has come, so that everything before it is still a failure with a
        status. Leaving early closes the upstream's connection at once."""
        ...

    async def count_tokens(self, request: UpstreamRequest) -> int | None:
        """Input tokens of a count_tokens body; None where the upstream has no way to count."""
        ...

    async def models(self) -> list[dict[str, Any]]:
        """The upstream's models, in the API's ModelInfo form as far as it goes; none where it has no list."""
        ...

    async def aclose(self) -> None:
        """Closes pooled connections. Idempotent."""
        ...


class RawStream(Protocol):
    """An accepted answer as bytes. `content_type` is the upstream's. Iterating yields pieces as they come and
    raises `UpstreamFailure` when the connection breaks; what the bytes say is the reader's to check."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def content_type(self) -> str: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class RelayProvider(Provider, Protocol):
    """A provider whose upstream speaks the Messages API so fully that some requests need no change at all."""

    def relays(self, request: UpstreamRequest) -> bool:
        """Whether this request can go as it is. Cheap: looks for marks in the bytes, parses nothing."""
        ...

    def relay(self, request: UpstreamRequest) -> AbstractAsyncContextManager[RawStream]:
        """Sends the body as it is. Enters when a 200 answer's first piece has come; else as `stream`."""
        ...


class UpstreamFailure(Exception):
    """The upstream did not give an answer. `answer` is what the client may be told; str() is for logs."""

    def __init__(self, reason: str, answer: ApiError) -> None:
        super().__init__(reason)
        self.reason = reason
        self.answer = answer


class UpstreamError(UpstreamFailure):
    """The upstream answered with an error. `retry_after`: its header; `should_retry` None: no word."""

    def __init__(
        self,
        status: int,
        type: str,  # noqa: A002 - the field's name on the wire
        message: str,
        *,
        retry_after: str | None = None,
        should_retry: bool | None = None,
        details: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> None:
        headers: dict[str, str] = {}
        if retry_after is not None:
            headers["retry-after"] = retry_after
        if should_retry is not None:
            headers["x-should-retry"] = "true" if should_retry else "false"
        answer = ApiError(status, type, message, headers=headers, details=details)
        super().__init__(reason or f"upstream answered {status} {type}: {message}", answer)
        self.status = status
        self.type = type
        self.message = message
        self.retry_after = retry_after
        self.should_retry = should_retry


class UpstreamBroken(UpstreamFailure):
    """The upstream could not be reached, or its stream broke off or made no sense. Worth a retry."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, ApiError(502, "api_error", "The upstream model service broke off its answer."))


class UpstreamTimeout(UpstreamFailure):
    """The upstream kept silent for too long. Worth a retry."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, ApiError(504, "timeout_error", "The upstream model service did not answer in time."))


def refused_credential(reason: str) -> UpstreamError:
    """The upstream refused *our* credential. A 401 would send the client to its own login, and clients
    retry a 500 for minutes unless told not to."""
    return UpstreamError(
        500,
        "api_error",
        "The gateway's credential was refused by its upstream model service. Tell the gateway's operator.",
        should_retry=False,
        reason=reason,
    )
