"""Which way a request goes: straight to its host, or through the site's HTTP proxy. Opens nothing itself."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from gateway.providers.wire.errors import WireError
from gateway.providers.wire.target import Target, authority

__all__ = ["Proxy", "bypassed"]

_PORT = 80


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `headers` prove who we are to it and are never printed."""

    host: str
    port: int
    headers: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """For messages: host and port, never the password."""
        return authority(self.host, self.port)

    @classmethod
    def of(cls, url: str) -> "Proxy":
        """From `http://host:port` or `http://user:password@host:port`, both parts percent-encoded."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise WireError("the proxy's URL makes no sense") from None
        if parts.scheme != "http" or not host:
            raise WireError("the proxy's URL must be http://host:port")
        headers: dict[str, str] = {}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["proxy-authorization"] = f"Basic {b64encode(pair.encode()).decode('ascii')}"
        return cls(host, port or _PORT, headers)


def bypassed(no_proxy: str, target: Target) -> bool:
    """Whether `no_proxy` names the target: a comma-separated list of `host`, `.suffix` (every host below it),
    `*` (all), each but the last with an optional `:port`. An IPv6 address stands bare or in brackets."""
    return any(_names(entry.strip().lower(), target) for entry in no_proxy.split(","))


def _names(entry: str, target: Target) -> bool:
    if entry in ("", "*"):
        return entry == "*"
    host, port = _split(entry)
    if port and port != str(target.port):
        return False
    return target.host.endswith(host) if host.startswith(".") else target.host == host


def _split(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":")
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, port
    return entry, ""
