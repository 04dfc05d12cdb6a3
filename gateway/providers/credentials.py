"""How the gateway proves itself to an upstream: the headers of each request, and what to do when they are refused.

Secrets stay in here and in the headers given out: none is in a repr, a log line or an exception.
"""

import base64
import re
from collections.abc import Mapping
from typing import Literal, Protocol, get_args

from gateway.providers.client_credentials import ClientCredentials

__all__ = ["SCHEMES", "ClientCredentials", "Credential", "Scheme", "StaticHeaders"]

Scheme = Literal["x-api-key", "bearer", "api-key", "basic"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

_SENDABLE = re.compile(r"[\x21-\x7e]{1,16384}")


class Credential(Protocol):
    """What proves us. Safe for concurrent use."""

    async def headers(self) -> Mapping[str, str]:
        """The headers, lower-case names. May fetch a token first; raises `UpstreamFailure` when there is none."""
        ...

    def rejected(self) -> bool:
        """To be called when the upstream answered 401 to these headers. True: ask `headers` again and try once
        more; False: there is no other proof."""
        ...

    async def aclose(self) -> None:
        """Ends what still fetches. Idempotent."""
        ...


class StaticHeaders:
    """A secret that does not change, in one header or, for upstreams that read only one of two spellings, in
    several. `basic` takes `user:password`; without a colon the user is `token`, as Databricks wants it.

    Raises `ValueError` for a secret that no header can carry.
    """

    def __init__(self, scheme: Scheme | tuple[Scheme, ...], secret: str) -> None:
        if not _SENDABLE.fullmatch(secret):
            raise ValueError("a credential has to be 1 to 16384 visible ASCII characters")
        self.schemes = (scheme,) if isinstance(scheme, str) else scheme
        self._headers = dict(_header(one, secret) for one in self.schemes)

    async def headers(self) -> Mapping[str, str]:
        return self._headers

    def rejected(self) -> bool:
        return False

    async def aclose(self) -> None:
        return

    def __repr__(self) -> str:
        return f"StaticHeaders({'+'.join(self.schemes)})"


def _header(scheme: Scheme, secret: str) -> tuple[str, str]:
    if scheme == "bearer":
        return "authorization", f"Bearer {secret}"
    if scheme == "basic":
        pair = secret if ":" in secret else f"token:{secret}"
        return "authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"
    return scheme, secret
