"""The way to an upstream: proxy, exceptions from it and trusted authorities, from settings or the usual variables.

Pure functions over settings and an environment. Must not know how a proxy is spoken to.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.settings import Settings, SettingsError

__all__ = ["Way", "way_to"]


@dataclass(frozen=True, slots=True)
class Way:
    """`no_proxy`: comma-separated hosts that are reached without the proxy."""

    proxy: str | None
    no_proxy: str
    ca_file: Path | None


def way_to(
    url: str,
    settings: Settings,
    *,
    proxy: str | None = None,
    no_proxy: str | None = None,
    ca_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Way:
    """What the upstream itself says, else the gateway's settings, else the standard variables. Those name a proxy
    for https upstreams only: a plain http upstream is a neighbour. Raises `SettingsError` for a missing CA file.
    """
    environ = os.environ if environ is None else environ
    proxy = proxy or settings.upstream_proxy or (_standard(environ, "https_proxy") if _is_https(url) else None)
    exceptions = no_proxy if no_proxy is not None else settings.upstream_no_proxy
    named = ca_file or settings.upstream_ca_file
    standard = _standard(environ, "ssl_cert_file")
    authorities = named or (Path(standard) if standard else None)
    if authorities is not None and not authorities.is_file():
        variable = "BULKHEAD_UPSTREAM_CA_FILE or ca_file" if named else "SSL_CERT_FILE"
        raise SettingsError(f"{variable} names {authorities}, which is not a file.")
    return Way(proxy, exceptions if exceptions is not None else _standard(environ, "no_proxy") or "", authorities)


def _standard(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name.upper()) or environ.get(name) or None


def _is_https(url: str) -> bool:
    return url.lower().startswith("https:")
