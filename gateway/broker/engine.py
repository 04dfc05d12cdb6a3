"""The engine's management calls the broker needs, each with a time limit, each error turned into `Refused`.

It must not know profiles, workspaces or callers: names and bodies come in, facts go out. Safe for threads.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import docker
import docker.errors
import requests.exceptions

from gateway.broker.attach import hijack
from gateway.broker.body import HostSecurity
from gateway.broker.errors import Refused

__all__ = ["Engine", "engine_socket"]

DEFAULT_SOCKET = "/var/run/docker.sock"
BUSY = (409, 500)
"""What the engine answers while a removal of the same thing is under way."""


def engine_socket(named: str | None = None) -> str:
    """The engine's socket from `named` or DOCKER_HOST, which must be a unix socket. Raises ValueError otherwise."""
    host = named or os.environ.get("DOCKER_HOST", "")
    if not host:
        return DEFAULT_SOCKET
    if not host.startswith("unix://"):
        raise ValueError(f"DOCKER_HOST must name a unix socket (unix:///path), not {host}")
    return host.removeprefix("unix://")


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise Refused("missing_image", str(error.explanation or error)) from error
    except docker.errors.NotFound as error:
        text = str(error.explanation or error)
        raise Refused("missing_image" if "No such image" in text else "not_found", text) from error
    except docker.errors.APIError as error:
        raise Refused("engine", str(error.explanation or error)) from error
    except requests.exceptions.Timeout as error:
        raise Refused("timeout", "the engine did not answer in time") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        raise Refused("engine", f"the engine cannot be reached: {error}") from error


class Engine:
    """One Docker-compatible engine behind its unix socket."""

    def __init__(self, path: str, *, time_limit: int = 60) -> None:
        self.path = path
        self.time_limit = time_limit
        self._local = threading.local()
        self._version: str | None = None

    def _api(self) -> docker.APIClient:
        api = getattr(self._local, "api", None)
        if api is None:
            url = "unix://" + self.path
            api = docker.APIClient(base_url=url, version=self._version or "auto", timeout=self.time_limit)
            self._version = api.api_version
            self._local.api = api
        return api

    def facts(self) -> dict[str, Any]:
        """Version, API, runtimes and security options of the engine."""
        with _refusing():
            api = self._api()
            info = api.info()
            return {
                "version": info.get("ServerVersion"),
                "api": api.api_version,
                "kernel": info.get("KernelVersion"),
                "cgroup": info.get("CgroupVersion", "1"),
                "runtimes": sorted(info.get("Runtimes") or {}),
                "security": list(info.get("SecurityOptions") or []),
            }

    def security(self) -> HostSecurity:
        facts = self.facts()
        named = {part.removeprefix("name=") for option in facts["security"] for part in option.split(",")}
        major, minor = (int(part) for part in facts["api"].split("."))
        return HostSecurity("apparmor" in named, "selinux" in named, (major, minor) >= (1, 41))

    def image_id(self, image: str) -> str | None:
        """Content id of an image the engine has, else None."""
        try:
            with _refusing():
                ask: Callable[[str], dict[str, Any]] = self._api().inspect_image
                return str(ask(image)["Id"])
        except Refused as refusal:
            if refusal.reason in ("missing_image", "not_found"):
                return None
            raise

    def create(self, name: str, body: dict[str, Any]) -> None:
        with _refusing():
            ask: Callable[[dict[str, Any], str], object] = self._api().create_container_from_config
            ask(body, name)

    def start(self, name: str) -> None:
        with _refusing():
            self._api().start(name)

    def attach(self, name: str) -> socket.socket:
        with _refusing():
            version = self._api().api_version
        return hijack(self.path, version, name, time_limit=self.time_limit)

    def wait(self, name: str) -> int:
        """Exit code of a container that ends by itself."""
        with _refusing():
            return int(self._api().wait(name, timeout=self.time_limit)["StatusCode"])

    def unpack(self, name: str, path: str, archive: bytes) -> None:
        """Put a tar archive into a volume of a container that need not run."""
        with _refusing():
            self._api().put_archive(name, path, archive)

    def inspect(self, name: str) -> dict[str, Any]:
        with _refusing():
            return dict(self._api().inspect_container(name))

    def containers(self, *labels: str) -> list[dict[str, Any]]:
        """Containers, running or not, that carry all of these labels ("name=value")."""
        with _refusing():
            return list(self._api().containers(all=True, filters={"label": list(labels)}))

    def remove(self, name: str) -> None:
        """Kill and remove; gone already is fine."""
        self._until_gone(lambda api: api.remove_container(name, force=True, v=True))

    def create_volume(self, name: str, options: dict[str, str], labels: dict[str, str]) -> str:
        """A volume of the local driver; its place on the engine's disk."""
        with _refusing():
            return str(self._api().create_volume(name, "local", options, labels)["Mountpoint"])

    def volumes(self, *labels: str) -> list[dict[str, Any]]:
        with _refusing():
            return list(self._api().volumes(filters={"label": list(labels)})["Volumes"] or [])

    def remove_volume(self, name: str) -> None:
        self._until_gone(lambda api: api.remove_volume(name, force=True))

    def _until_gone(self, remove: Any) -> None:
        deadline = time.monotonic() + self.time_limit
        while True:
            try:
                with _refusing():
                    remove(self._api())
                return
            except Refused as refusal:
                cause = refusal.__cause__
                if refusal.reason == "not_found":
                    return
                busy = isinstance(cause, docker.errors.APIError) and cause.status_code in BUSY
                if not busy or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)
