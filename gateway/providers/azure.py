"""Claude on Microsoft Foundry: what is different there, as the arguments of an `AnthropicProvider`.

Knows Azure's URLs and headers; sends nothing itself.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from gateway.providers.adapt import AZURE, AZURE_HOSTED, Capabilities
from gateway.providers.anthropic import AnthropicProvider
from gateway.providers.credentials import Credential
from gateway.providers.wire import HttpClient

__all__ = ["azure_endpoint", "azure_provider"]

DEFAULT_VERSION = "2023-06-01"

_RESOURCE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{1,63}")
_FOUNDRY_HOST = re.compile(r"(?i)\.(?:services\.ai|cognitiveservices|openai)\.azure\.(?:com|us|cn)$")


def azure_endpoint(given: str) -> str:
    """The base URL of the Messages API, from the name of a resource, its address, or any of the endpoint
    spellings: `https://{resource}.services.ai.azure.com[/anthropic[/v1[/messages]]]`. Other hosts (an API
    management in front) are taken as they are. Raises `ValueError`."""
    if _RESOURCE.fullmatch(given):
        return f"https://{given.lower()}.services.ai.azure.com/anthropic"
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http(s) URL or a resource name: {given}")
    path = parts.path.rstrip("/")
    if _FOUNDRY_HOST.search(parts.hostname) and "/anthropic" not in path:
        path = "/anthropic"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def azure_provider(
    endpoint: str,
    credential: Credential | None,
    *,
    name: str = "azure-anthropic",
    version: str = DEFAULT_VERSION,
    hosted_on_azure: bool = False,
    capabilities: Capabilities | None = None,
    client: HttpClient | None = None,
    extra_headers: Mapping[str, str] | None = None,
) -> AnthropicProvider:
    """The model's name is that of the deployment. `credential`: `StaticHeaders(("api-key", "x-api-key"), key)`,
    since not every deployment reads both spellings, or `ClientCredentials.entra`. `hosted_on_azure`: deployments
    that refuse server tools, files and structured outputs. `capabilities` replace what follows from that.
    There is no Models API; tokens are counted. Raises `ValueError` for an endpoint that is none.
    """
    return AnthropicProvider(
        azure_endpoint(endpoint),
        credential,
        name=name,
        client=client,
        capabilities=capabilities or (AZURE_HOSTED if hosted_on_azure else AZURE),
        version=version,
        extra_headers=extra_headers,
        lists_models=False,
    )
