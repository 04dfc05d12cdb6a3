"""A URL as the wire needs it: whom to connect to and what to ask there. Must not know connections."""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from gateway.providers.wire.errors import WireError

__all__ = ["Target", "authority", "target"]

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `host` is lower-case and without brackets; `path` has the query in it.

    `origin` (`https://host:port`) tells which connections can be shared; `authority` is the host header.
    """

    secure: bool
    host: str
    port: int
    path: str
    origin: str
    authority: str


def authority(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=1024)
def target(url: str) -> Target:
    """Reads an absolute http(s) URL, already percent-encoded. Cached, because an upstream has a handful of them.

    Credentials in a URL would end up in logs and are refused; the message never repeats the URL.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise WireError("not a URL: it holds characters that must be percent-encoded")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise WireError("not a URL: its host or port makes no sense") from None
    if parts.scheme not in _PORTS or not host or port == 0:
        raise WireError("not an absolute http or https URL")
    if "@" in parts.netloc:
        raise WireError("a URL must not hold credentials")
    usual = _PORTS[parts.scheme]
    whole = authority(host, port or usual)
    return Target(
        secure=parts.scheme == "https",
        host=host,
        port=port or usual,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        origin=f"{parts.scheme}://{whole}",
        authority=whole if port not in (None, usual) else whole.rpartition(":")[0],
    )
