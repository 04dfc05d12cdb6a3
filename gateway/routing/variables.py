"""The plan that the environment variables of one upstream give: the seeds' names, unchanged.

Knows settings and plans. Must not know providers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.routing.network import way_to
from gateway.routing.plan import OAuthPlan, RoutingPlan, UpstreamPlan
from gateway.settings import Settings

__all__ = ["limits_of", "plan_of_variables"]


def plan_of_variables(settings: Settings) -> RoutingPlan:
    """One upstream, that of `MODEL_PROVIDER`, which takes any model name."""
    plan = _PLANS[settings.model_provider](settings)
    return RoutingPlan(
        source=f"MODEL_PROVIDER={settings.model_provider}",
        upstreams=(plan,),
        default=plan.name,
        offered=settings.models,
        patience=settings.upstream_patience_seconds,
    )


def limits_of(settings: Settings) -> dict[str, Any]:
    """The limits that hold for every upstream which has none of its own."""
    return {
        "concurrency": settings.upstream_concurrency,
        "attempts": settings.upstream_attempts,
        "breaker_failures": settings.upstream_breaker_failures,
        "connect": settings.upstream_connect_seconds,
        "silence": settings.upstream_timeout_seconds,
    }


def _anthropic(settings: Settings) -> UpstreamPlan:
    return UpstreamPlan(
        "anthropic",
        "anthropic",
        settings.anthropic_endpoint,
        secret=settings.anthropic_api_key,
        scheme=settings.anthropic_auth_scheme,
        **_common(settings, settings.anthropic_endpoint),
    )


def _azure(settings: Settings) -> UpstreamPlan:
    url = settings.azure_anthropic_endpoint or ""
    entra = settings.azure_anthropic_auth == "entra"
    oauth = None
    if entra and settings.azure_client_id is not None and settings.azure_client_secret is not None:
        oauth = OAuthPlan(
            settings.azure_client_id,
            settings.azure_client_secret,
            token_url=settings.azure_token_url,
            tenant_id=settings.azure_tenant_id,
        )
    return UpstreamPlan(
        "azure-anthropic",
        "azure",
        url,
        secret=None if entra else settings.azure_anthropic_api_key,
        scheme=None if settings.azure_anthropic_auth == "entra" else settings.azure_anthropic_auth,
        oauth=oauth,
        version=settings.azure_anthropic_version,
        hosted_on_azure=settings.azure_anthropic_hosted,
        **_common(settings, url),
    )


def _databricks(settings: Settings) -> UpstreamPlan:
    url = settings.databricks_api_base or ""
    oauth = None
    if settings.databricks_client_id is not None and settings.databricks_client_secret is not None:
        oauth = OAuthPlan(
            settings.databricks_client_id,
            settings.databricks_client_secret,
            token_url=settings.databricks_token_url,
            account_id=settings.databricks_account_id,
        )
    return UpstreamPlan(
        "databricks",
        "databricks",
        url,
        secret=None if oauth is not None else settings.databricks_api_key,
        oauth=oauth,
        path=settings.databricks_endpoint_path,
        **_common(settings, url),
    )


def _openai(settings: Settings) -> UpstreamPlan:
    return UpstreamPlan(
        "openai",
        "openai",
        settings.openai_base_url,
        secret=settings.openai_api_key,
        dialect=settings.openai_dialect,
        **_common(settings, settings.openai_base_url),
    )


def _common(settings: Settings, url: str) -> dict[str, Any]:
    way = way_to(url, settings)
    return {**limits_of(settings), "proxy": way.proxy, "no_proxy": way.no_proxy, "ca_file": way.ca_file}


_PLANS: Mapping[str, Callable[[Settings], UpstreamPlan]] = {
    "anthropic": _anthropic,
    "azure-anthropic": _azure,
    "databricks": _databricks,
    "openai": _openai,
}
