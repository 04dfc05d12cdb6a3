"""Starting one program: descriptors, directory, environment, tag; posix_spawn and nothing slower.

Knows how a process comes to life, not what happens to its output (calls.py) or how it ends (tree.py).
"""

from __future__ import annotations

import os
import time

import guard
import tree
import wire
from refusal import Params, Refusal, from_os_error

REPORT_FD = 9
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARGUMENT_BYTES = 2 << 20
_ARGUMENT_COUNT = 4096
_ENVIRONMENT_COUNT = 1024
_OWN_PREFIX = "BULKHEAD_"
_TRIES = 40
_PAUSE = 0.005

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def command_of(params: Params, payload: bytes) -> tuple[list[str], dict[str, str | None]]:
    """argv and env, from the header or, when they are long, from the payload (a JSON object of the two)."""
    argv, env = params.raw("argv"), params.raw("env")
    if payload:
        try:
            carried = wire.loads(payload)
        except ValueError as error:
            raise Refusal("invalid", "payload must be a JSON object with argv and env") from error
        if type(carried) is not dict or argv is not None or env is not None:
            raise Refusal("invalid", "argv and env belong either in the header or in the payload")
        argv, env = carried.get("argv"), carried.get("env")
    env = {} if env is None else env
    if type(argv) is not list or not 0 < len(argv) <= _ARGUMENT_COUNT:
        raise Refusal("invalid", f"argv must be a list of 1 to {_ARGUMENT_COUNT} strings")
    if type(env) is not dict or len(env) > _ENVIRONMENT_COUNT:
        raise Refusal("invalid", f"env must be an object of at most {_ENVIRONMENT_COUNT} entries")
    size = 0
    for word in argv:
        if type(word) is not str or "\0" in word:
            raise Refusal("invalid", "argv must hold strings without NUL")
        size += len(word)
    for name, value in env.items():
        if not name or "=" in name or "\0" in name:
            raise Refusal("invalid", "env has an impossible name")
        if value is not None and (type(value) is not str or "\0" in value):
            raise Refusal("invalid", "env values must be strings without NUL, or null to unset")
        size += len(name) + len(value or "")
    if size > _ARGUMENT_BYTES:
        raise Refusal("too_large", f"argv and env together exceed {_ARGUMENT_BYTES} characters")
    if not argv[0]:
        raise Refusal("invalid", "argv[0] is empty")
    return argv, env


class Spawner:
    """Holds what every spawn shares: the inherited environment, /dev/null, tags and the OOM score.

    `reap` collects ended children: until then they count against the limit of processes.
    """

    def __init__(self, reap: Callable[[], None]) -> None:
        self._reap = reap
        self._base = {k: v for k, v in os.environ.items() if not k.startswith(_OWN_PREFIX)}
        self._null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self._tags = tree.Tags()
        self._oom = guard.OomScore()

    def spawn(
        self, argv: list[str], env: dict[str, str | None], cwd: str, stdin: int, out: int, err: int, report: int
    ) -> tuple[int, int]:
        """(pid, tag) of the new session leader. Descriptors below 0 mean: none (stdin then reads /dev/null)."""
        merged = dict(self._base)
        for name, value in env.items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = value
        actions: list[tuple[int, int, int]] = [
            (os.POSIX_SPAWN_DUP2, stdin if stdin >= 0 else self._null, 0),
            (os.POSIX_SPAWN_DUP2, out, 1),
            (os.POSIX_SPAWN_DUP2, err, 2),
        ]
        if report >= 0:
            actions.append((os.POSIX_SPAWN_DUP2, report, REPORT_FD))
        try:
            os.chdir(cwd)
        except OSError as error:
            raise from_os_error(error, cwd) from error
        try:
            program = _find(argv[0], merged.get("PATH", _DEFAULT_PATH))
            tag = self._tags.wear()
            self._oom.raise_for_child()
            try:
                pid = self._start(program, argv, merged, actions)
            except OSError as error:
                raise from_os_error(error, argv[0]) from error
            except ValueError as error:
                raise Refusal("invalid", str(error)) from error
            finally:
                self._oom.restore()
        finally:
            os.chdir("/")
        return pid, tag

    def _start(self, program: str, argv: list[str], env: dict[str, str], actions: list[tuple[int, int, int]]) -> int:
        """The pid. A tree that was just killed may still be on its way out: its places are waited for a moment."""
        for _ in range(_TRIES):
            try:
                return self._posix_spawn(program, argv, env, actions)
            except BlockingIOError:
                self._reap()
                time.sleep(_PAUSE)
        return self._posix_spawn(program, argv, env, actions)

    def _posix_spawn(
        self, program: str, argv: list[str], env: dict[str, str], actions: list[tuple[int, int, int]]
    ) -> int:
        return os.posix_spawn(
            program,
            argv,
            env,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=guard.RESET_IN_CHILDREN,
        )


def _find(name: str, path: str) -> str:
    """The file to execute, searched on the child's own PATH (posix_spawnp would use the toolhost's)."""
    if "/" in name:
        return name
    denied = False
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        if os.access(candidate, os.X_OK):
            if not os.path.isdir(candidate):
                return candidate
        elif os.path.isfile(candidate):
            denied = True
    if denied:
        raise Refusal("permission", f"{name}: not executable")
    raise Refusal("not_found", f"{name}: command not found")
