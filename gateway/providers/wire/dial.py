"""Opens connections: TCP, TLS, and the tunnel through the site's proxy. Must not know what is sent on them."""

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path

from gateway.providers.wire.connection import Connection
from gateway.providers.wire.errors import WireError
from gateway.providers.wire.proxy import Proxy, bypassed
from gateway.providers.wire.target import Target, authority
from gateway.providers.wire.tunnel import open_tunnel

__all__ = ["Dialler"]


class Dialler:
    """`ca_file` (PEM) is trusted besides the system's authorities; a file that cannot be read raises `OSError`
    here and not at the first request. `proxy` and `no_proxy`: see `proxy.py`."""

    def __init__(self, *, ca_file: Path | None, proxy: str | None, no_proxy: str) -> None:
        self._proxy = Proxy.of(proxy) if proxy else None
        self._no_proxy = no_proxy
        self._via: dict[str, Proxy | None] = {}
        self._tls = _tls(ca_file) if ca_file is not None else None

    def proxy_headers(self, target: Target) -> Mapping[str, str] | None:
        """What a request to the target says to the proxy; None where it speaks to the target itself."""
        if self._proxy is None or target.secure:
            return None
        proxy = self._proxy_for(target)
        return proxy.headers if proxy is not None else None

    async def open(self, target: Target, connection: Connection) -> None:
        """Connects. The caller bounds the time, and drops the connection when this is cancelled."""
        proxy = self._proxy_for(target)
        peer = authority(target.host, target.port) if proxy is None else f"the proxy {proxy.name}"
        loop = asyncio.get_running_loop()
        try:
            if proxy is None:
                await loop.create_connection(
                    lambda: connection, target.host, target.port, ssl=self._context() if target.secure else None
                )
            elif not target.secure:
                await loop.create_connection(lambda: connection, proxy.host, proxy.port)
            else:
                await open_tunnel(proxy, target, connection, self._context())
        except ssl.SSLCertVerificationError as error:
            reason = f"{authority(target.host, target.port)} showed a certificate that does not verify"
            raise WireError(f"{reason}: {error.verify_message}") from None
        except (OSError, UnicodeError) as error:  # the latter is how the resolver refuses a name
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise WireError(f"could not connect to {peer}: {reason}") from None

    def _proxy_for(self, target: Target) -> Proxy | None:
        if self._proxy is None:
            return None
        if target.origin not in self._via:
            self._via[target.origin] = None if bypassed(self._no_proxy, target) else self._proxy
        return self._via[target.origin]

    def _context(self) -> ssl.SSLContext:
        # Built at the first use: the system's authorities take milliseconds and megabytes to load.
        if self._tls is None:
            self._tls = _tls(None)
        return self._tls


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
