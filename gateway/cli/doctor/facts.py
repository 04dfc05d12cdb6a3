"""What the doctor looks at: plain values, gathered by `collect`, judged by `checks`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ImageState = Literal["current", "stale", "absent", "foreign"]
"""`foreign`: present, but not an image that this package builds."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """A container engine that answered."""

    version: str
    api: str
    runc: str
    runc_build: str
    """What the engine says of the build: distributions put their package revision here, upstream a commit."""
    kernel: str
    security: tuple[str, ...]
    """`SecurityOptions`, as `name=seccomp,profile=default`."""
    cgroup: str
    rootless: bool
    root_dir: str
    root_free: int | None
    """Bytes free where images and containers are kept; None if that cannot be seen from here."""
    skew_seconds: float | None
    """The engine's clock minus ours."""


@dataclass(frozen=True, slots=True)
class UpstreamFacts:
    """A configured upstream."""

    name: str
    kind: str
    credential: bool
    """Whether one is configured; nobody was asked whether it is a good one."""
    open: bool
    """A chat server in the neighbourhood, which most likely asks for none."""
    place: str
    """The variable or the key of the file that its credential comes from."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One host and configuration. None means: could not be found out, or is not there."""

    driver: str
    engine: EngineFacts | None
    engine_error: str
    image: str
    image_state: ImageState | None
    kernel: str
    lsms: tuple[str, ...]
    seccomp_actions: tuple[str, ...]
    cgroup_v2: bool
    user_namespaces: int | None
    bubblewrap: str | None
    bubblewrap_error: str
    """Empty when a sandbox could be made with it."""
    ripgrep: bool
    data_dir: str
    data_mode: int | None
    data_owner: int | None
    data_free: int | None
    uid: int
    audit: str
    """`sealed`, `absent`, or what is wrong with the end of the log."""
    now: float
    evidence: float
    """The newest time seen in files that cannot be younger than the present."""
    workspace: str
    workspace_owner: int | None
    workspace_is_home: bool
    upstreams: tuple[UpstreamFacts, ...]
    upstreams_error: str
    """Why no upstream can be made of the configuration; empty when all can."""
    unknown_variables: tuple[str, ...]
    known_variables: tuple[str, ...]
