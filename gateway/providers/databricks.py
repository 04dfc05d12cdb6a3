"""Databricks serving: which of its ways to a model a configured address means, as the providers for it.

Knows Databricks' URLs and composes providers; sends nothing itself. What its native route lacks is `DATABRICKS`,
what its chat route is like is the dialect of that name, what its errors mean is in `error_codes`.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from gateway.messages.errors import InvalidRequest
from gateway.providers.adapt import DATABRICKS, Capabilities
from gateway.providers.anthropic import AnthropicProvider
from gateway.providers.base import Provider, UpstreamRequest, UpstreamStream
from gateway.providers.chat import DIALECTS, ChatProvider, Dialect
from gateway.providers.credentials import Credential
from gateway.providers.wire import HttpClient

__all__ = ["DatabricksPlace", "DatabricksProvider", "databricks_place", "databricks_provider", "way_of"]

Way = Literal["messages", "chat", "invocations", "by model"]

_ROOTS = re.compile(r"/(?:serving-endpoints|ai-gateway|served-models)(?=/|$)")
_INVOCATIONS = re.compile(
    r"(?:/serving-endpoints/(?P<endpoint>[^/]+))?(?:/served-models/(?P<served>[^/]+))?/invocations"
)

_MESSAGES = "/serving-endpoints/anthropic"
_CHAT = "/serving-endpoints/chat/completions"
_GATEWAY_MESSAGES = "/ai-gateway/anthropic"
_GATEWAY_CHAT = "/ai-gateway/mlflow/v1/chat/completions"
_ROUTES: tuple[tuple[re.Pattern[str], Way, str], ...] = (
    (re.compile(r"(?:/serving-endpoints)?"), "by model", ""),
    (re.compile(r"/serving-endpoints/anthropic(?:/v1(?:/messages)?)?"), "messages", _MESSAGES),
    (re.compile(r"/ai-gateway/anthropic(?:/v1(?:/messages)?)?"), "messages", _GATEWAY_MESSAGES),
    (re.compile(r"/serving-endpoints/chat(?:/completions)?"), "chat", _CHAT),
    (re.compile(r"/ai-gateway/mlflow(?:/v1(?:/chat/completions)?)?"), "chat", _GATEWAY_CHAT),
)
"""Paths, the way each means, and what is used of it."""


@dataclass(frozen=True, slots=True)
class DatabricksPlace:
    """Where requests go. `url` is the base URL of `messages`, the full URL of `chat` and `invocations`, the
    workspace for `by model`. `endpoint` is the one that `invocations` names."""

    way: Way
    url: str
    endpoint: str = ""


def databricks_place(base: str, path: str | None = None) -> DatabricksPlace:
    """From the workspace's address and a path below it, or one address with both; a front door's prefix stays.
    With no more path than `/serving-endpoints` the way goes by the model. Raises `ValueError`."""
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http(s) URL: {base}")
    above, below = parts.path.rstrip("/"), (path or "").rstrip("/")
    root = _ROOTS.search(above)
    prefix = above[: root.start()] if root is not None else above
    whole = below or (above[root.start() :] if root is not None else "")

    def place(way: Way, used: str, endpoint: str = "") -> DatabricksPlace:
        return DatabricksPlace(way, urlunsplit((parts.scheme, parts.netloc, prefix + used, "", "")), endpoint)

    for pattern, way, used in _ROUTES:
        if pattern.fullmatch(whole):
            return place(way, used)
    found = _INVOCATIONS.fullmatch(whole)
    if found is not None and (name := found["served"] or found["endpoint"]):
        return place("invocations", whole, unquote(name))
    raise ValueError(f"not a path of Databricks model serving: {whole}")


def way_of(model: str) -> str:
    """The path for a model where the configuration leaves the choice: Claude models take a Messages route, which
    loses nothing; three-part names (`system.ai.claude-...`) are services of the AI gateway."""
    claude = "claude" in model.lower()
    if model.count(".") >= 2:
        return _GATEWAY_MESSAGES if claude else _GATEWAY_CHAT
    return _MESSAGES if claude else _CHAT


def databricks_provider(
    base: str,
    credential: Credential | None,
    *,
    path: str | None = None,
    name: str = "databricks",
    client: HttpClient | None = None,
    capabilities: Capabilities = DATABRICKS,
    version: str | None = None,
    dialect: Dialect = DIALECTS["databricks"],
    extra_headers: Mapping[str, str] | None = None,
) -> Provider:
    """A provider for the place that `base` and `path` name: see `databricks_place`.

    `credential`: `StaticHeaders("bearer", token)`, `StaticHeaders("basic", token)` or
    `ClientCredentials.databricks`; `x-api-key` is not read there. `capabilities` and `version` are for the
    Messages routes, `dialect` for the others (`databricks-claude` for a Claude endpoint whose name does not say
    so). No token counts, no list of models. Raises `ValueError`.
    """
    place = databricks_place(base, path)
    pool = client if client is not None else HttpClient()

    def messages(url: str) -> Provider:
        return AnthropicProvider(
            url,
            credential,
            name=name,
            client=pool,
            capabilities=capabilities,
            version=version,
            extra_headers=extra_headers,
            counts=False,
            lists_models=False,
        )

    def chat(url: str) -> Provider:
        return ChatProvider(url, credential, name=name, dialect=dialect, client=pool, extra_headers=extra_headers)

    if place.way == "messages":
        return messages(place.url)
    if place.way == "chat":
        return chat(place.url)
    if place.way == "invocations":
        only = chat(place.url)
        return DatabricksProvider(name, lambda _: (only, place.endpoint), [only])
    ways = {
        way: (messages if way in (_MESSAGES, _GATEWAY_MESSAGES) else chat)(place.url + way)
        for way in (_MESSAGES, _CHAT, _GATEWAY_MESSAGES, _GATEWAY_CHAT)
    }
    return DatabricksProvider(name, lambda model: (ways[way_of(model)], model), list(ways.values()))


class DatabricksProvider:
    """Several ways behind one seam, or one way that knows the model better than the request does. `choose` gives
    the way and the model's name there for the name that was asked for."""

    def __init__(self, name: str, choose: Callable[[str], tuple[Provider, str]], ways: list[Provider]) -> None:
        self.name = name
        self._choose = choose
        self._ways = ways

    def stream(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamStream]:
        """See `Provider.stream`."""
        provider, model = self._choose(request.model or _model_in(request.body))
        return provider.stream(replace(request, model=model))

    async def count_tokens(self, request: UpstreamRequest) -> int | None:
        """See `Provider.count_tokens`: no route counts."""
        return None

    async def models(self) -> list[dict[str, Any]]:
        """See `Provider.models`: no route lists them."""
        return []

    async def aclose(self) -> None:
        """See `Provider.aclose`."""
        for way in self._ways:
            await way.aclose()


class _Named(msgspec.Struct):
    model: str = ""


_named = msgspec.json.Decoder(_Named)


def _model_in(body: bytes) -> str:
    try:
        return _named.decode(body).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is no Messages request: {error}") from error
