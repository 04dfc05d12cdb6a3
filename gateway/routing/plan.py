"""What is to be built: upstreams, credentials and routes as plain values, whichever way they were configured.

The file (`file`) and the variables (`variables`) both come to this; `build` makes providers of it. Holds secrets only
as `SecretStr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr

from gateway.routing.route import ModelRoute

__all__ = ["SCHEMES", "Kind", "OAuthPlan", "RoutingPlan", "Scheme", "UpstreamPlan"]

Kind = Literal["anthropic", "azure", "databricks", "openai"]
Scheme = Literal["x-api-key", "bearer", "api-key", "basic", "both"]

SCHEMES: Mapping[Kind, tuple[Scheme, ...]] = {
    "anthropic": ("x-api-key", "bearer", "api-key"),
    "azure": ("both", "api-key", "x-api-key", "bearer"),
    "databricks": ("bearer", "basic"),
    "openai": ("bearer", "api-key", "x-api-key"),
}
"""How each kind of upstream takes a secret; the first is the default."""


@dataclass(frozen=True, slots=True)
class OAuthPlan:
    """Client credentials. `token_url` unset: built from the workspace (Databricks, `account_id` for the account's)
    or from `tenant_id` (Entra)."""

    client_id: str
    client_secret: SecretStr
    token_url: str | None = None
    tenant_id: str | None = None
    account_id: str | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class UpstreamPlan:
    """One upstream. `path`: only for Databricks, below `url`. `dialect`: only for chat servers. `silence` and
    `connect` are seconds. `without` and `with_` name features that it lacks, or has, other than its kind does."""

    name: str
    kind: Kind
    url: str
    secret: SecretStr | None = None
    scheme: Scheme | None = None
    oauth: OAuthPlan | None = None
    path: str | None = None
    version: str | None = None
    dialect: str | None = None
    dialect_flags: Mapping[str, Any] = field(default_factory=dict)
    hosted_on_azure: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    with_: tuple[str, ...] = ()
    concurrency: int = 500
    attempts: int = 3
    breaker_failures: int = 8
    connect: float = 10.0
    silence: float = 600.0
    proxy: str | None = None
    no_proxy: str = ""
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class RoutingPlan:
    """Everything a router is made of. `source` says in words where it came from."""

    source: str
    upstreams: tuple[UpstreamPlan, ...]
    models: tuple[ModelRoute, ...] = ()
    default: str | None = None
    discovery: bool = True
    offered: tuple[str, ...] = ()
    patience: float = 900.0
