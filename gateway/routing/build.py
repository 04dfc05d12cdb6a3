"""Makes the router that the configuration asks for: plan in, providers with their connections out.

The only file of this room that knows the providers by name. A new kind of upstream is a row of `_MAKERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from gateway.providers.adapt import ANTHROPIC, AZURE, AZURE_HOSTED, CHAT, DATABRICKS, Capabilities
from gateway.providers.anthropic import DEFAULT_VERSION, AnthropicProvider
from gateway.providers.azure import azure_provider
from gateway.providers.base import Provider
from gateway.providers.chat import ChatProvider, dialect
from gateway.providers.credentials import ClientCredentials, Credential, Scheme, StaticHeaders
from gateway.providers.databricks import databricks_provider
from gateway.providers.wire import HttpClient, WireError
from gateway.routing.breaker import Breaker
from gateway.routing.file import plan_of_file
from gateway.routing.plan import SCHEMES, Kind, OAuthPlan, RoutingPlan, UpstreamPlan
from gateway.routing.route import Routes
from gateway.routing.router import Router
from gateway.routing.slots import Slots
from gateway.routing.upstream import Upstream
from gateway.routing.variables import plan_of_variables
from gateway.settings import Settings, SettingsError

__all__ = ["build_provider", "build_router", "plan_of", "router_of"]

SIDE_CONNECTIONS = 20
"""Beyond the slots, for counts and lists."""

BREAKER_WINDOW = 60.0
BREAKER_REST = 15.0

_DIALECTS = (
    ("api.openai.com", "openai"),
    (".openai.azure.com", "azure-openai"),
    ("openrouter.ai", "openrouter"),
    ("api.mistral.ai", "mistral"),
    ("api.deepseek.com", "deepseek"),
    ("", "generic"),
)
"""Which dialect a chat server has that nobody named one for, by the end of its host."""

_ACCOUNT_CONSOLES = (
    (".azuredatabricks.net", "https://accounts.azuredatabricks.net"),
    (".gcp.databricks.com", "https://accounts.gcp.databricks.com"),
    ("", "https://accounts.cloud.databricks.com"),
)
"""Where a Databricks account's tokens come from, by the end of the workspace's host."""


def build_router(settings: Settings) -> Router:
    """The router of these settings: of the upstreams file if one is named, else of the variables of one upstream.
    Opens no connection. Raises `SettingsError`."""
    return router_of(plan_of(settings))


def plan_of(settings: Settings) -> RoutingPlan:
    """What is configured. Raises `SettingsError`."""
    return plan_of_variables(settings) if settings.upstreams is None else plan_of_file(settings.upstreams, settings)


def router_of(plan: RoutingPlan) -> Router:
    """The router of a plan. Raises `SettingsError`."""
    upstreams = [
        Upstream(
            build_provider(one),
            name=one.name,
            attempts=one.attempts,
            compacts=_capabilities(one).has("compaction"),
            breaker=Breaker(one.breaker_failures, window=BREAKER_WINDOW, rest=BREAKER_REST),
            slots=Slots(one.name, one.concurrency),
        )
        for one in plan.upstreams
    ]
    names = [one.name for one in plan.upstreams]
    routes = Routes(plan.models, names, default=plan.default, discovery=plan.discovery, offered=plan.offered)
    return Router(upstreams, routes, patience=plan.patience)


def build_provider(plan: UpstreamPlan) -> Provider:
    """The provider of one upstream; closing it closes its connections. Raises `SettingsError`."""
    try:
        client = HttpClient(
            connect=plan.connect,
            silence=plan.silence,
            connections=plan.concurrency + SIDE_CONNECTIONS,
            ca_file=plan.ca_file,
            proxy=plan.proxy,
            no_proxy=plan.no_proxy,
        )
        return _MAKERS[plan.kind](plan, client)
    except (ValueError, OSError, WireError) as error:
        raise SettingsError(f"upstream {plan.name} ({plan.kind}): {str(error).rstrip('.')}.") from None


def _anthropic(plan: UpstreamPlan, client: HttpClient) -> Provider:
    return AnthropicProvider(
        plan.url,
        _credential(plan, client),
        name=plan.name,
        client=client,
        capabilities=_capabilities(plan),
        version=plan.version,
        extra_headers=plan.headers,
    )


def _azure(plan: UpstreamPlan, client: HttpClient) -> Provider:
    return azure_provider(
        plan.url,
        _credential(plan, client),
        name=plan.name,
        client=client,
        capabilities=_capabilities(plan),
        extra_headers=plan.headers,
        version=plan.version or DEFAULT_VERSION,
    )


def _databricks(plan: UpstreamPlan, client: HttpClient) -> Provider:
    return databricks_provider(
        plan.url,
        _credential(plan, client),
        path=plan.path,
        name=plan.name,
        client=client,
        capabilities=_capabilities(plan),
        version=plan.version,
        dialect=dialect(plan.dialect or "databricks", **plan.dialect_flags),
        extra_headers=plan.headers,
    )


def _openai(plan: UpstreamPlan, client: HttpClient) -> Provider:
    name = plan.dialect or _by_host(plan.url, _DIALECTS)
    return ChatProvider(
        plan.url,
        _credential(plan, client),
        name=plan.name,
        dialect=dialect(name, **plan.dialect_flags),
        client=client,
        extra_headers=plan.headers,
    )


_MAKERS: Mapping[Kind, Callable[[UpstreamPlan, HttpClient], Provider]] = {
    "anthropic": _anthropic,
    "azure": _azure,
    "databricks": _databricks,
    "openai": _openai,
}


_USUAL: Mapping[Kind, Capabilities] = {"anthropic": ANTHROPIC, "databricks": DATABRICKS, "openai": CHAT}


def _capabilities(plan: UpstreamPlan) -> Capabilities:
    """What it has, as its kind does but for what the plan says otherwise."""
    usual = _usual(plan)
    return replace(usual, lacks=(usual.lacks | set(plan.without)) - set(plan.with_))


def _usual(plan: UpstreamPlan) -> Capabilities:
    if plan.kind == "azure":
        return AZURE_HOSTED if plan.hosted_on_azure else AZURE
    return _USUAL[plan.kind]


def _credential(plan: UpstreamPlan, client: HttpClient) -> Credential | None:
    if plan.oauth is not None:
        return _client_credentials(plan, plan.oauth, client)
    if plan.secret is None:
        return None
    scheme = plan.scheme or SCHEMES[plan.kind][0]
    schemes: tuple[Scheme, ...] = ("api-key", "x-api-key") if scheme == "both" else (scheme,)
    return StaticHeaders(schemes, plan.secret.get_secret_value())


def _client_credentials(plan: UpstreamPlan, oauth: OAuthPlan, client: HttpClient) -> Credential:
    secret = oauth.client_secret.get_secret_value()
    token_url = oauth.token_url or ""
    scope = {"scope": oauth.scope} if oauth.scope else {}
    if plan.kind == "azure":
        return ClientCredentials.entra(
            client, oauth.tenant_id or "", oauth.client_id, secret, token_url=token_url, **scope
        )
    if plan.kind == "databricks":
        host = _by_host(plan.url, _ACCOUNT_CONSOLES) if oauth.account_id else plan.url
        account = oauth.account_id or ""
        return ClientCredentials.databricks(
            client, host, oauth.client_id, secret, account=account, token_url=token_url, **scope
        )
    return ClientCredentials(client, token_url, oauth.client_id, secret, scope=oauth.scope or "")


def _by_host(url: str, table: tuple[tuple[str, str], ...]) -> str:
    """The first row whose key the host ends with."""
    host = urlsplit(url).hostname or ""
    return next(value for end, value in table if host.endswith(end))
