"""The token endpoints of Databricks and Entra, and whether a request's credential is good.

Knows forms, headers and the clock. Must not know scenarios.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from tests.upstreams.dialects import Dialect

__all__ = ["CLIENT_ID", "CLIENT_SECRET", "SCOPES", "Credentials", "TokenRefused"]

CLIENT_ID = "client-of-the-test"
CLIENT_SECRET = "secret of the test/+="
"""With characters that must be encoded on the wire."""

SCOPES: Mapping[str, str] = {"databricks": "all-apis", "entra": "https://ai.azure.com/.default"}


class TokenRefused(Exception):
    """The token endpoint says no; `status` and the OAuth `error`."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


class Credentials:
    """What one server accepts: its secret ("" takes any), and the tokens it issued that are still good.

    `seconds`: how long a token lives.
    """

    def __init__(
        self, dialect: Dialect, secret: str = "", seconds: float = 3600, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._dialect = dialect
        self._secret = secret
        self._seconds = seconds
        self._clock = clock
        self._until: dict[str, float] = {}
        self.issued = 0

    def issue(self, headers: Mapping[str, str], body: bytes) -> dict[str, object]:
        """The token endpoint's answer. Raises `TokenRefused`."""
        form = {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            raise TokenRefused(400, "invalid_request")
        if form.get("grant_type") != "client_credentials":
            raise TokenRefused(400, "unsupported_grant_type")
        given = (form.get("client_id"), form.get("client_secret"))
        if self._dialect.tokens == "databricks":
            given = _basic(headers.get("authorization", ""))
        if given != (CLIENT_ID, CLIENT_SECRET):
            raise TokenRefused(401, "invalid_client")
        if form.get("scope") != SCOPES[str(self._dialect.tokens)]:
            raise TokenRefused(400, "invalid_scope")
        self.issued += 1
        token = f"issued-token-{self.issued}"
        self._until[token] = self._clock() + self._seconds
        return {"access_token": token, "token_type": "Bearer", "expires_in": int(self._seconds)}

    def revoke(self) -> None:
        """No token issued so far is good any more."""
        self._until.clear()

    def accepts(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with these headers may come in."""
        if self._dialect.anonymous and not self._secret:
            return True
        return any(self._good(value) for value in self._given(headers))

    def _given(self, headers: Mapping[str, str]) -> list[str]:
        found = [
            headers[name] for name in ("x-api-key", "api-key") if name in self._dialect.schemes and name in headers
        ]
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and "bearer" in self._dialect.schemes:
            found.append(value)
        if scheme.lower() == "basic" and "basic" in self._dialect.schemes:
            user, password = _basic(headers["authorization"])
            found += [str(password)] if user == "token" else []
        return found

    def _good(self, value: str) -> bool:
        if value.startswith("issued-token-"):
            return self._until.get(value, 0.0) > self._clock()
        return value == self._secret if self._secret else bool(value)


def _basic(header: str) -> tuple[str | None, str | None]:
    scheme, _, value = header.partition(" ")
    try:
        user, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None, None
    return (user, password) if scheme.lower() == "basic" and colon else (None, None)
