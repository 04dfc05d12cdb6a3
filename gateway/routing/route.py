"""Which upstreams may answer a model name, in which order: a table and a pure look-up.

Knows names only. Must not know providers, credentials or whether an upstream is well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gateway.messages.errors import InvalidRequest

__all__ = ["VIA", "ModelRoute", "Route", "Routes", "Target"]

VIA = "claude-via-"
"""Claude Code lists only models whose id names the vendor; any other model is also offered under this prefix."""


@dataclass(frozen=True, slots=True)
class Target:
    """One model of one upstream; `model` is the upstream's own name of it."""

    upstream: str
    model: str


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """An entry of the table. `name` may end in `*`: then it takes every name that begins so, and a target whose
    model is `*` gets the name as it was asked for. `max_tokens` caps what a request may ask for."""

    name: str
    targets: tuple[Target, ...]
    display_name: str = ""
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where one request may go: `targets` in the order they are tried, never empty."""

    requested: str
    targets: tuple[Target, ...]
    display_name: str
    max_tokens: int | None = None


class Routes:
    """The table. First come names as written, then the longest pattern, then `upstream/model` where upstreams
    tell their lists (`discovery`), then the default upstream, which takes any name.

    With `offered`, every other name is refused. `claude-via-NAME` means NAME.
    """

    def __init__(
        self,
        entries: Sequence[ModelRoute],
        upstreams: Collection[str],
        *,
        default: str | None = None,
        discovery: bool = False,
        offered: Collection[str] = (),
    ) -> None:
        self.entries = tuple(entries)
        self.default = default
        self.discovery = discovery
        self.offered = tuple(offered)
        self._exact: Mapping[str, ModelRoute] = {entry.name: entry for entry in entries if entry.name[-1] != "*"}
        patterns = [entry for entry in entries if entry.name[-1] == "*"]
        self._patterns = sorted(patterns, key=lambda entry: len(entry.name), reverse=True)
        self._upstreams = frozenset(upstreams)

    def route(self, model: str) -> Route:
        """The route of a requested name. Raises `InvalidRequest` for a name that is not offered: a 404 would
        make clients repeat the request and then blame the model."""
        name = model
        if model.startswith(VIA) and model not in self._exact:
            name = model.removeprefix(VIA)
        found = None if self.offered and name not in self.offered else self._find(name)
        if found is None:
            raise InvalidRequest(f"model: {model} is not offered by this gateway; see GET /v1/models")
        return Route(model, found.targets, found.display_name or name, found.max_tokens)

    def _find(self, model: str) -> ModelRoute | None:
        if not model:
            return None
        exact = self._exact.get(model)
        if exact is not None:
            return exact
        for entry in self._patterns:
            if model.startswith(entry.name[:-1]):
                return _filled(entry, model)
        if self.discovery:
            upstream, slash, name = model.partition("/")
            if slash and name and upstream in self._upstreams:
                return ModelRoute(model, (Target(upstream, name),))
        if self.default is not None:
            return ModelRoute(model, (Target(self.default, model),))
        return None


def _filled(entry: ModelRoute, model: str) -> ModelRoute:
    targets = tuple(Target(target.upstream, model) if target.model == "*" else target for target in entry.targets)
    return ModelRoute(model, targets, "", entry.max_tokens)
