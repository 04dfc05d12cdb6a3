"""The shape of the upstreams file, and every rule that its parts must keep.

Secrets never stand in it, only where they are. Must not know how the file is read nor what is made of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator

from gateway.providers.adapt.features import FEATURES
from gateway.routing.plan import SCHEMES, Kind, Scheme

__all__ = ["ModelEntry", "UpstreamEntry", "UpstreamsFile", "near"]

MAX_SECRET = 64 * 1024
_HIDDEN = ("value", "key", "token", "secret", "password", "api_key")
_CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "proxy-authorization", "cookie"})
_OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"})
_ONLY_FOR: Mapping[str, tuple[Kind, ...]] = {
    "path": ("databricks",),
    "dialect": ("openai", "databricks"),
    "dialect_flags": ("openai", "databricks"),
    "hosted_on_azure": ("azure",),
    "version": ("anthropic", "azure", "databricks"),
    "without": ("anthropic", "azure", "databricks"),
    "with_": ("anthropic", "azure", "databricks"),
}
"""Keys that make sense for some kinds of upstream only."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,256}$")]
WebAddress = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+\S*$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{0,1024}$")]


class _Part(BaseModel):
    """A mapping of the file: immutable, and a key it does not know is an error that names the nearest one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"must be a mapping with {', '.join(cls._keys())}")
        for key in value:
            if key not in cls._keys():
                raise ValueError(cls._unknown(str(key)))
        return value

    @classmethod
    def _keys(cls) -> tuple[str, ...]:
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @classmethod
    def _unknown(cls, key: str) -> str:
        return f"{key!r} is not a key here; {near(key, cls._keys())}"


class Secret(_Part):
    """Where a secret stands: in a variable, or in a file (its text without the last line end)."""

    env: str | None = None
    file: Path | None = None

    @classmethod
    def _unknown(cls, key: str) -> str:
        if key in _HIDDEN:
            return f"{key!r}: secrets do not stand in this file; name a variable (env: NAME) or a file (file: PATH)"
        return super()._unknown(key)

    @model_validator(mode="after")
    def _one_place(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("needs exactly one of env and file")
        return self

    def read(self, environ: Mapping[str, str]) -> SecretStr:
        """The secret. Raises `ValueError` with the reason."""
        if self.env is not None:
            text = environ.get(self.env, "")
            if not text:
                raise ValueError(f"the variable {self.env} is not set")
        else:
            assert self.file is not None
            try:
                with self.file.expanduser().open("rb") as opened:
                    text = opened.read(MAX_SECRET).decode().rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{self.file} cannot be read ({error})") from None
            if not text:
                raise ValueError(f"{self.file} is empty")
        if not text.isprintable() or not text.isascii():
            raise ValueError(f"{self.env or self.file} holds characters that no header can carry")
        return SecretStr(text)


class Credential(Secret):
    """A secret and the header it travels in."""

    scheme: Scheme | None = None


class OAuth(_Part):
    """OAuth 2 client credentials: the gateway fetches tokens and renews them."""

    client_id: str = Field(min_length=1)
    client_secret: Secret
    token_url: WebAddress | None = None
    tenant_id: str | None = None
    account_id: str | None = None
    scope: str | None = None


class Timeouts(_Part):
    """Seconds."""

    connect: float | None = Field(default=None, gt=0)
    silence: float | None = Field(default=None, gt=0)


class UpstreamEntry(_Part):
    """One upstream. What is left out comes from the gateway's settings."""

    kind: Kind
    url: WebAddress
    path: Annotated[str, StringConstraints(pattern=r"^/\S*$")] | None = None
    credential: Credential | None = None
    oauth: OAuth | None = None
    dialect: str | None = None
    dialect_flags: dict[str, Any] = {}
    version: str | None = None
    hosted_on_azure: bool = False
    headers: dict[HeaderName, HeaderValue] = {}
    without: tuple[str, ...] = ()
    with_: tuple[str, ...] = Field(default=(), alias="with")
    concurrency: int | None = Field(default=None, ge=1)
    attempts: int | None = Field(default=None, ge=1, le=10)
    breaker_failures: int | None = Field(default=None, ge=0)
    timeouts: Timeouts = Timeouts()
    proxy: Annotated[str, StringConstraints(pattern=r"^http://\S+$")] | None = None
    no_proxy: str | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> UpstreamEntry:
        for key, kinds in _ONLY_FOR.items():
            if key in self.model_fields_set and self.kind not in kinds:
                raise ValueError(f"{key.rstrip('_')} is only for kind {' or '.join(kinds)}")
        if self.credential is not None and self.oauth is not None:
            raise ValueError("needs one of credential and oauth, not both")
        if self.oauth is not None and self.kind not in ("azure", "databricks") and self.oauth.token_url is None:
            raise ValueError(f"oauth: needs token_url for kind {self.kind}")
        if self.oauth is not None and self.kind == "azure" and not (self.oauth.tenant_id or self.oauth.token_url):
            raise ValueError("oauth: needs tenant_id or token_url for kind azure")
        scheme = self.credential.scheme if self.credential is not None else None
        if scheme is not None and scheme not in SCHEMES[self.kind]:
            raise ValueError(f"credential: scheme {scheme} is not one of {', '.join(SCHEMES[self.kind])}")
        for feature in (*self.without, *self.with_):
            if feature not in FEATURES:
                raise ValueError(f"{feature!r} is not a feature; {near(feature, tuple(FEATURES))}")
        return self

    @field_validator("url")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        if "@" in value.split("/")[2]:
            raise ValueError("must hold no user or password; use credential")
        return value

    @model_validator(mode="after")
    def _headers_are_harmless(self) -> UpstreamEntry:
        for name in self.headers:
            if name.lower() in _CREDENTIAL_HEADERS:
                raise ValueError(f"headers: {name} carries a secret; use credential")
            if name.lower() in _OURS or name.lower().startswith("anthropic-"):
                raise ValueError(f"headers: {name} is the gateway's to send")
        return self


class TargetEntry(_Part):
    """One place a model name leads to; without `model` the upstream gets the name as it was asked for."""

    upstream: Name
    model: ModelName | None = None


class ModelEntry(TargetEntry):
    """A model name on offer."""

    fallback: tuple[TargetEntry, ...] = ()
    display_name: str | None = Field(default=None, min_length=1, max_length=256)
    max_tokens: int | None = Field(default=None, ge=1)


class UpstreamsFile(_Part):
    """The whole file."""

    upstreams: dict[Name, UpstreamEntry] = Field(min_length=1)
    models: dict[ModelName, ModelEntry] = {}
    default: Name | None = None
    discovery: bool = True

    @model_validator(mode="after")
    def _names_exist(self) -> UpstreamsFile:
        if self.default is not None:
            self._check("default", self.default)
        for name, model in self.models.items():
            if "*" in name[:-1]:
                raise ValueError(f"models.{name}: * may only stand at the end")
            for target in (model, *model.fallback):
                self._check(f"models.{name}", target.upstream)
        if not self.models and self.default is None and not self.discovery:
            raise ValueError("no model could be asked for: add models, or name a default upstream")
        return self

    def _check(self, place: str, upstream: str) -> None:
        if upstream not in self.upstreams:
            raise ValueError(f"{place}: there is no upstream {upstream!r}; {near(upstream, tuple(self.upstreams))}")


def near(word: str, known: tuple[str, ...]) -> str:
    """What was probably meant, for the end of a message."""
    found = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {found[0]!r}?" if found else f"there are {', '.join(known)}"
