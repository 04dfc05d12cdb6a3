"""Settings of the way to the models: which upstream, its credentials, and how it is reached.

A part of `Settings`; several upstreams are configured in a file of their own, which `upstreams` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from gateway.settings.fields import Names, setting, variable_of

__all__ = ["UpstreamSettings"]

Provider = Literal["anthropic", "azure-anthropic", "databricks", "openai"]
AzureAuth = Literal["api-key", "x-api-key", "both", "entra"]
AuthScheme = Literal["x-api-key", "bearer", "api-key"]

_NEEDED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "azure-anthropic": (("azure_anthropic_endpoint",),),
    "databricks": (("databricks_api_base",), ("databricks_api_key", "databricks_client_id")),
}
"""What a provider cannot do without: of each group one field must be set."""

_TOGETHER = (
    ("databricks_client_id", "databricks_client_secret"),
    ("azure_client_id", "azure_client_secret"),
)
"""Fields of which none makes sense without the other."""


class UpstreamSettings(BaseSettings):
    """The first section of `Settings`."""

    model_provider: Provider = setting("anthropic", "Which upstream answers model requests.")
    anthropic_api_key: SecretStr | None = setting(None, "Credential for the `anthropic` provider.")
    anthropic_endpoint: str = setting(
        "https://api.anthropic.com",
        "Base URL, or the full URL of the messages endpoint, of the `anthropic` provider.",
    )
    anthropic_auth_scheme: AuthScheme = setting(
        "x-api-key", "How the credential is sent: a header of that name, or `Authorization: Bearer`."
    )
    azure_anthropic_endpoint: str | None = setting(
        None, "Base URL, or the full URL of the messages endpoint, of the `azure-anthropic` provider."
    )
    azure_anthropic_api_key: SecretStr | None = setting(None, "Credential for the `azure-anthropic` provider.")
    azure_anthropic_version: str = setting("2023-06-01", "Value of the `anthropic-version` header sent to Azure.")
    azure_anthropic_auth: AzureAuth = setting(
        "both", "How the Azure credential is sent: a header of that name, both headers, or a token from Entra ID."
    )
    azure_anthropic_hosted: bool = setting(
        False, "The deployment is hosted on Azure itself, which refuses server tools and structured outputs."
    )
    azure_tenant_id: str | None = setting(None, "Entra tenant of the application, for `AZURE_ANTHROPIC_AUTH=entra`.")
    azure_client_id: str | None = setting(None, "Application (client) id in that tenant.")
    azure_client_secret: SecretStr | None = setting(None, "Secret of that application.")
    azure_token_url: str | None = setting(
        None, "Where tokens come from, in other clouds.", shown="the tenant's endpoint at login.microsoftonline.com"
    )
    databricks_api_base: str | None = setting(None, "URL of the workspace, for the `databricks` provider.")
    databricks_api_key: SecretStr | None = setting(None, "Personal access token of the workspace.")
    databricks_endpoint_path: str = setting(
        "/serving-endpoints/anthropic/v1/messages",
        "Path below the workspace: the Messages route, or `/serving-endpoints/NAME/invocations`, or"
        " `/serving-endpoints/chat/completions`.",
    )
    databricks_client_id: str | None = setting(
        None, "Service principal whose tokens are used in place of a personal one."
    )
    databricks_client_secret: SecretStr | None = setting(None, "OAuth secret of that service principal.")
    databricks_account_id: str | None = setting(None, "Ask for tokens of this account instead of the workspace's.")
    databricks_token_url: str | None = setting(
        None, "Where tokens come from.", shown="the token endpoint of the workspace"
    )
    openai_base_url: str = setting(
        "https://api.openai.com/v1", "Base URL, or the full URL of the chat endpoint, of the `openai` provider."
    )
    openai_api_key: SecretStr | None = setting(None, "Credential for the `openai` provider.")
    openai_dialect: str | None = setting(
        None, "Which server speaks there; docs/upstreams.md lists the dialects.", shown="by the URL"
    )
    upstreams: Path | None = setting(
        None, "YAML file of several upstreams and model names (docs/upstreams.md); replaces the variables above."
    )
    models: Names = setting(
        (), "Models on offer, comma-separated; others are refused. Empty: what the upstream offers."
    )
    upstream_timeout_seconds: float = setting(
        600.0, "Longest silence of the upstream before its request counts as failed.", unit="seconds", gt=0
    )
    upstream_connect_seconds: float = setting(
        10.0, "Longest wait for a connection to the upstream.", unit="seconds", gt=0
    )
    upstream_patience_seconds: float = setting(
        900.0,
        "Longest time from a request to the beginning of its answer, all tries and waits together.",
        unit="seconds",
        gt=0,
    )
    upstream_attempts: int = setting(
        3, "Tries of one request at one upstream before its first byte, the first included.", unit="tries", ge=1, le=10
    )
    upstream_concurrency: int = setting(
        500, "Requests at one upstream at a time; further ones wait for a short while.", unit="requests", ge=1
    )
    upstream_breaker_failures: int = setting(
        8,
        "Failures of an upstream in a row after which it is left alone for a while; 0 never does that.",
        unit="failures",
        ge=0,
    )
    upstream_proxy: str | None = setting(
        None, "HTTP proxy on the way to upstreams.", shown="`HTTPS_PROXY`, for https upstreams"
    )
    upstream_no_proxy: str | None = setting(
        None, "Hosts reached without the proxy: names, `.suffixes`, addresses; comma-separated.", shown="`NO_PROXY`"
    )
    upstream_ca_file: Path | None = setting(
        None, "PEM file of the authorities that may sign an upstream's certificate.", shown="`SSL_CERT_FILE`"
    )

    @field_validator("model_provider", mode="before")
    @classmethod
    def _offered(cls, value: object) -> object:
        offered = get_args(Provider)
        if isinstance(value, str) and value not in offered:
            raise ValueError(f"{value!r} is not offered; choose one of {', '.join(offered)}")
        return value

    @field_validator(
        "anthropic_endpoint",
        "azure_anthropic_endpoint",
        "azure_token_url",
        "databricks_api_base",
        "databricks_token_url",
        "openai_base_url",
    )
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must be a URL that starts with https:// or http://")
        if value is not None and "@" in value.split("/")[2]:
            raise ValueError("must hold no user or password; credentials have variables of their own")
        return value

    @field_validator("upstream_proxy")
    @classmethod
    def _is_http_proxy(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("http://"):
            raise ValueError("must be a URL that starts with http://; https upstreams are tunnelled through it")
        return value

    @field_validator("databricks_endpoint_path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("must be a path that starts with /")
        return value

    @model_validator(mode="after")
    def _provider_is_complete(self) -> Self:
        if self.upstreams is not None:
            return self
        needed = list(_NEEDED.get(self.model_provider, ()))
        why = f"MODEL_PROVIDER is {self.model_provider}"
        if self.model_provider == "azure-anthropic" and self.azure_anthropic_auth == "entra":
            why = "AZURE_ANTHROPIC_AUTH is entra"
            needed += [("azure_client_id",), ("azure_tenant_id", "azure_token_url")]
        for group in needed:
            if all(getattr(self, name) is None for name in group):
                raise ValueError(f"{' or '.join(map(variable_of, group))} must be set when {why}")
        for one, other in (*_TOGETHER, *(pair[::-1] for pair in _TOGETHER)):
            if getattr(self, one) is not None and getattr(self, other) is None:
                raise ValueError(f"{variable_of(other)} must be set when {variable_of(one)} is")
        return self
