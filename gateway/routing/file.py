"""The upstreams file read into a plan: several upstreams, the model names on offer and where each leads.

Reads the file and the secrets it names, and fills in the gateway's settings. Must not know providers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gateway.routing.network import way_to
from gateway.routing.plan import OAuthPlan, RoutingPlan, UpstreamPlan
from gateway.routing.route import ModelRoute, Target
from gateway.routing.schema import ModelEntry, UpstreamEntry, UpstreamsFile
from gateway.routing.variables import limits_of
from gateway.settings import Settings, SettingsError

__all__ = ["UpstreamsFileError", "plan_of_file"]

MAX_FILE = 1024 * 1024
MAX_PROBLEMS = 5
"""Problems told at once."""


class UpstreamsFileError(SettingsError):
    """The file cannot be used. The message names the file, the place in it and what to do."""


def plan_of_file(path: Path, settings: Settings, environ: Mapping[str, str] | None = None) -> RoutingPlan:
    """Reads, checks and completes it with the settings. Raises `UpstreamsFileError`."""
    environ = os.environ if environ is None else environ
    document = _read(path)
    try:
        file = UpstreamsFile.model_validate(document)
    except ValidationError as error:
        raise UpstreamsFileError(_sentence(path, error)) from None
    return RoutingPlan(
        source=str(path),
        upstreams=tuple(_upstream(path, name, entry, settings, environ) for name, entry in file.upstreams.items()),
        models=tuple(_model(name, entry) for name, entry in file.models.items()),
        default=file.default,
        discovery=file.discovery,
        offered=settings.models,
        patience=settings.upstream_patience_seconds,
    )


def _upstream(
    path: Path, name: str, entry: UpstreamEntry, settings: Settings, environ: Mapping[str, str]
) -> UpstreamPlan:
    place = f"{path}: upstreams.{name}"
    secret, oauth = None, None
    try:
        if entry.credential is not None:
            secret = entry.credential.read(environ)
    except ValueError as error:
        raise UpstreamsFileError(f"{place}.credential: {error}.") from None
    try:
        if entry.oauth is not None:
            given = entry.oauth.model_dump(exclude={"client_secret"})
            oauth = OAuthPlan(client_secret=entry.oauth.client_secret.read(environ), **given)
    except ValueError as error:
        raise UpstreamsFileError(f"{place}.oauth.client_secret: {error}.") from None
    try:
        way = way_to(
            entry.url, settings, proxy=entry.proxy, no_proxy=entry.no_proxy, ca_file=entry.ca_file, environ=environ
        )
    except SettingsError as error:
        raise UpstreamsFileError(f"{place}: {error}") from None
    own = {
        "concurrency": entry.concurrency,
        "attempts": entry.attempts,
        "breaker_failures": entry.breaker_failures,
        "connect": entry.timeouts.connect,
        "silence": entry.timeouts.silence,
    }
    limits = {**limits_of(settings), **{key: value for key, value in own.items() if value is not None}}
    return UpstreamPlan(
        name=name,
        kind=entry.kind,
        url=entry.url,
        secret=secret,
        scheme=entry.credential.scheme if entry.credential is not None else None,
        oauth=oauth,
        path=entry.path,
        version=entry.version,
        dialect=entry.dialect,
        dialect_flags=entry.dialect_flags,
        hosted_on_azure=entry.hosted_on_azure,
        headers={key.lower(): value for key, value in entry.headers.items()},
        without=entry.without,
        with_=entry.with_,
        proxy=way.proxy,
        no_proxy=way.no_proxy,
        ca_file=way.ca_file,
        **limits,
    )


def _model(name: str, entry: ModelEntry) -> ModelRoute:
    # A pattern's target without a model gets the name as asked for, which ModelRoute spells `*`.
    targets = tuple(Target(target.upstream, target.model or name) for target in (entry, *entry.fallback))
    if name.endswith("*"):
        targets = tuple(Target(one.upstream, "*" if one.model == name else one.model) for one in targets)
    return ModelRoute(name, targets, entry.display_name or "", entry.max_tokens)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may stand only once: the second of two upstreams would silently win."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands here twice", key.start_mark)
            seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as opened:
            text = opened.read(MAX_FILE + 1)
    except OSError as error:
        raise UpstreamsFileError(f"BULKHEAD_UPSTREAMS: {path} cannot be read ({error.strerror}).") from None
    if len(text) > MAX_FILE:
        raise UpstreamsFileError(f"{path}: is larger than {MAX_FILE} bytes; that is no upstreams file.")
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamsFileError(f"{path}: is not YAML: {' '.join(str(error).split())}.") from None


def _sentence(path: Path, error: ValidationError) -> str:
    problems = []
    for one in error.errors():
        place = ".".join(str(part) for part in one["loc"] if part != "[key]")
        message = one["msg"].removeprefix("Value error, ").rstrip(".")
        problems.append(f"{place}: {message}" if place else message)
    more = f" (and {len(problems) - MAX_PROBLEMS} more)" if len(problems) > MAX_PROBLEMS else ""
    return f"{path}: {'; '.join(problems[:MAX_PROBLEMS])}{more}."
