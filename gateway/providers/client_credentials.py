"""Tokens by OAuth 2.0 client credentials (RFC 6749, 4.4): fetched once for all callers, renewed before they end.

Knows the token endpoint and nothing of what the token is for.
"""

import asyncio
import base64
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import structlog

from gateway.messages import jsonbytes
from gateway.providers.base import UpstreamBroken, UpstreamError, UpstreamFailure, UpstreamTimeout, refused_credential
from gateway.providers.wire import HttpClient, WireError, WireTimeout

__all__ = ["ClientCredentials"]

AZURE_AI_SCOPE = "https://ai.azure.com/.default"
DATABRICKS_SCOPE = "all-apis"
ENTRA_HOST = "https://login.microsoftonline.com"

MAX_ANSWER = 64 * 1024
"""Bytes of a token answer."""

EARLY = 60.0
"""Seconds before its end at which a token is renewed; half its life where that is less."""

PAUSE = 5.0
"""Seconds without a new attempt after a failed one: a locked account is worse than a few failed requests."""

FORCED_PAUSE = 30.0
"""Seconds in which at most one token is thrown away because an upstream refused it."""

DEFAULT_LIFE = 300.0
LONGEST_LIFE = 24 * 3600.0

_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Token:
    headers: Mapping[str, str] = field(repr=False)
    renew_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class _Failed:
    """A failure as a value: every waiter raises its own."""

    failure: Callable[[], UpstreamFailure]
    until: float


class ClientCredentials:
    """Bearer headers for one client. A `Credential`.

    However many callers wait, one fetch is under way; a caller that is cancelled leaves it to the others.
    From `EARLY` before its end a token is renewed behind the callers' backs, past its end they wait. A
    refusal of the endpoint is the gateway's own fault (500, no retry); an endpoint that is down, slow or makes
    no sense is worth a retry (502, 504). `seconds` bounds one fetch. `now` is a monotonic clock.

    Raises `ValueError` for a token URL that is neither https nor on this host, and for an empty id or secret.
    """

    def __init__(
        self,
        client: HttpClient,
        token_url: str,
        client_id: str,
        client_secret: str,
        *,
        scope: str,
        secret_in: Literal["basic", "form"] = "basic",
        seconds: float = 20.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        where = urlsplit(token_url)
        if not where.hostname or (where.scheme != "https" and where.hostname not in _LOOPBACK):
            raise ValueError("a token URL has to be https")
        if not client_id or not client_secret:
            raise ValueError("client credentials need an id and a secret")
        self._client = client
        self._url = token_url
        self._headers, self._body = _token_request(client_id, client_secret, scope, secret_in)
        self._seconds = seconds
        self._now = now
        self._token: _Token | None = None
        self._failed: _Failed | None = None
        self._fetching: asyncio.Task[_Token | _Failed] | None = None
        self._thrown_away_at: float | None = None

    @classmethod
    def databricks(
        cls,
        client: HttpClient,
        host: str,
        client_id: str,
        client_secret: str,
        *,
        account: str = "",
        token_url: str = "",
        scope: str = DATABRICKS_SCOPE,
        **options: Any,
    ) -> "ClientCredentials":
        """A service principal of the workspace at `host` (`https://...`, a path is ignored); with `account`, of
        the account whose console `host` is. `token_url` replaces both."""
        where = urlsplit(host)
        path = f"/oidc/accounts/{quote(account, safe='')}/v1/token" if account else "/oidc/v1/token"
        url = token_url or f"{where.scheme}://{where.netloc}{path}"
        return cls(client, url, client_id, client_secret, scope=scope, secret_in="basic", **options)

    @classmethod
    def entra(
        cls,
        client: HttpClient,
        tenant: str,
        client_id: str,
        client_secret: str,
        *,
        token_url: str = "",
        scope: str = AZURE_AI_SCOPE,
        **options: Any,
    ) -> "ClientCredentials":
        """An application of the Entra tenant (id or domain). `token_url` is for sovereign clouds."""
        url = token_url or f"{ENTRA_HOST}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        return cls(client, url, client_id, client_secret, scope=scope, secret_in="form", **options)

    async def headers(self) -> Mapping[str, str]:
        """See `Credential.headers`."""
        token = self._token
        now = self._now()
        if token is not None and now < token.ends_at:
            if now >= token.renew_at and self._failing(now) is None:
                self._fetch()
            return token.headers
        failed = self._failing(now)
        if failed is not None:
            raise failed.failure()
        fetching = self._fetch()
        try:
            found = await asyncio.shield(fetching)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if fetching.cancelled() and (caller is None or not caller.cancelling()):
                raise UpstreamBroken("the gateway stopped fetching tokens") from None
            raise
        if isinstance(found, _Failed):
            raise found.failure()
        return found.headers

    def rejected(self) -> bool:
        """See `Credential.rejected`. The token is thrown away, but not more than one in `FORCED_PAUSE`: several
        callers learn of the same dead token, and a fresh one that is refused as well is no reason for another."""
        now = self._now()
        thrown = self._thrown_away_at
        if self._token is not None and (thrown is None or now - thrown >= FORCED_PAUSE):
            self._token = None
            self._thrown_away_at = now
            log.warning("upstream_token_refused", endpoint=self._url)
        return True

    async def aclose(self) -> None:
        """Ends a fetch under way. The client is the caller's."""
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching.cancel()
            await asyncio.wait([fetching])

    def __repr__(self) -> str:
        return f"ClientCredentials({self._url})"

    def _failing(self, now: float) -> _Failed | None:
        return self._failed if self._failed is not None and now < self._failed.until else None

    def _fetch(self) -> "asyncio.Task[_Token | _Failed]":
        """The fetch under way, or a new one. A task of its own, so that no caller's end is its end."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetched(), name="upstream-token")
        return self._fetching

    async def _fetched(self) -> _Token | _Failed:
        try:
            found = await self._asked()
        finally:
            self._fetching = None
        if isinstance(found, _Failed):
            self._failed = found
            log.warning("upstream_token_missing", endpoint=self._url, reason=found.failure().reason)
        else:
            self._token, self._failed = found, None
        return found

    async def _asked(self) -> _Token | _Failed:
        began = self._now()
        try:
            async with asyncio.timeout(self._seconds):
                async with self._client.request("POST", self._url, self._headers, self._body) as response:
                    status, body = response.status, await response.body(MAX_ANSWER + 1)
        except (TimeoutError, WireTimeout):
            return self._failure(lambda: UpstreamTimeout("the token endpoint did not answer in time"))
        except WireError as error:
            reason = f"the token endpoint failed: {error.reason}"
            return self._failure(lambda: UpstreamBroken(reason))
        found = _read_token(status, body, began)
        return found if isinstance(found, _Token) else self._failure(found)

    def _failure(self, failure: Callable[[], UpstreamFailure]) -> _Failed:
        return _Failed(failure, self._now() + PAUSE)


def _token_request(
    client_id: str, client_secret: str, scope: str, secret_in: Literal["basic", "form"]
) -> tuple[dict[str, str], bytes]:
    headers = {
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/x-www-form-urlencoded",
        "user-agent": "bulkhead",
    }
    form = {"grant_type": "client_credentials", "scope": scope}
    if secret_in == "basic":
        # Not form-encoded first, as RFC 6749, 2.3.1 has it: the endpoints that matter take it as it is.
        headers["authorization"] = f"Basic {base64.b64encode(f'{client_id}:{client_secret}'.encode()).decode()}"
    else:
        form |= {"client_id": client_id, "client_secret": client_secret}
    return headers, urlencode(form).encode()


def _read_token(status: int, body: bytes, began: float) -> _Token | Callable[[], UpstreamFailure]:
    """The token, or the failure that the answer means. Only an error *code* of the answer is ever repeated: its
    prose names tenants."""
    answer = _object(body)
    if status != 200:
        code = answer.get("error") or answer.get("error_code")
        said = code if isinstance(code, str) and _CODE.fullmatch(code) else "no code"
        reason = f"the token endpoint answered {status} ({said})"
        if status == 429:
            return lambda: UpstreamError(529, "overloaded_error", "The gateway's sign-in is overloaded.", reason=reason)
        if 400 <= status < 500:
            return lambda: refused_credential(reason)
        return lambda: UpstreamBroken(reason)
    token = answer.get("access_token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return lambda: UpstreamBroken("the token endpoint answered without a usable access_token")
    kind = answer.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return lambda: UpstreamBroken("the token endpoint gave a token that is no bearer token")
    life = _life(answer.get("expires_in"))
    if life is None:
        return lambda: UpstreamBroken("the token endpoint gave a token that has ended already, or no usable expires_in")
    renew_at = began + life - min(EARLY, life / 2)
    return _Token({"authorization": f"Bearer {token}"}, renew_at, began + life - min(5.0, life / 10))


def _life(expires_in: object) -> float | None:
    """Seconds; a numeric text is what some versions of Entra send. None: ended or no number."""
    if expires_in is None:
        return DEFAULT_LIFE
    if isinstance(expires_in, str) and re.fullmatch(r"\d{1,9}", expires_in):
        expires_in = int(expires_in)
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float):
        return None
    return min(float(expires_in), LONGEST_LIFE) if expires_in > 0 else None


def _object(body: bytes) -> Mapping[str, Any]:
    if len(body) > MAX_ANSWER:
        return {}
    try:
        decoded = jsonbytes.decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}
