"""How a setting is declared, and which environment variable it is read from.

Knows no setting by its meaning but the names that the forerunner's documents gave their variables.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

__all__ = ["Names", "setting", "variable_of"]

_UNPREFIXED = frozenset(
    {
        "model_provider",
        "anthropic_api_key",
        "anthropic_endpoint",
        "anthropic_auth_scheme",
        "azure_anthropic_endpoint",
        "azure_anthropic_api_key",
        "azure_anthropic_version",
        "azure_anthropic_auth",
        "azure_anthropic_hosted",
        "azure_tenant_id",
        "azure_client_id",
        "azure_client_secret",
        "azure_token_url",
        "databricks_api_base",
        "databricks_api_key",
        "databricks_endpoint_path",
        "databricks_client_id",
        "databricks_client_secret",
        "databricks_account_id",
        "databricks_token_url",
        "openai_base_url",
        "openai_api_key",
        "openai_dialect",
        "prompt_cache_enabled",
        "prompt_cache_ttl_ms",
        "prompt_cache_max_entries",
        "workspace_root",
        "port",
        "docker_host",
    }
)
"""Fields whose variable is the field's name in capitals; every other one's begins with `BULKHEAD_`."""


def setting(default: Any, description: str, *, unit: str = "", shown: str = "", **limits: Any) -> Any:
    """A field; `shown` is the default as documentation says it, where it is computed."""
    source = {"default_factory": default} if callable(default) else {"default": default}
    return Field(**source, description=description, json_schema_extra={"unit": unit, "shown": shown}, **limits)


def _split(value: object) -> object:
    """`a, b` from the environment becomes a list; TOML brings lists of its own."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


def variable_of(field: str) -> str:
    """The environment variable of a field."""
    return field.upper() if field in _UNPREFIXED else f"BULKHEAD_{field.upper()}"
