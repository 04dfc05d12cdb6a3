"""What each verb does. Decides, builds, creates and always cleans up after itself.

It must not know sockets or threads: one request in, one answer (and for streams one connection) out.
"""

import io
import secrets
import socket
import tarfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from gateway.broker import wire
from gateway.broker.body import HostSecurity, Mount, create_body, prepare_body
from gateway.broker.engine import Engine
from gateway.broker.errors import Refused
from gateway.broker.profile import Profile
from gateway.broker.sources import Checked, check_workspace, refuse_swapped

__all__ = ["Answer", "Broker"]

PROTOCOL = 1


@dataclass(frozen=True)
class Answer:
    """What goes back: facts, and for open and attach the stream that belongs to them."""

    facts: dict[str, Any]
    stream: socket.socket | None = None
    created: str | None = None
    """Name of the sandbox this request made; removed again if its caller never takes it."""


@dataclass
class Broker:
    """The fixed verb list over one engine, for one gateway."""

    engine: Engine
    gateway: str
    """Names whose containers and volumes these are; nothing of another gateway is ever touched."""
    roots: Sequence[Path] = ()
    profiles: Mapping[str, Profile] = field(default_factory=lambda: {"default": Profile()})
    _security: HostSecurity | None = None

    def answer(self, request: wire.Request) -> Answer:
        """Carry out one request. Raises `Refused`; whatever was begun is gone then."""
        match request:
            case wire.Hello():
                return Answer(self._hello())
            case wire.Open():
                return self._open(request)
            case wire.Attach():
                self._owned(request.sandbox)
                return Answer({"sandbox": request.sandbox}, self.engine.attach(request.sandbox))
            case wire.Inspect():
                return Answer(self._inspect(request.sandbox))
            case wire.Close():
                self.remove(request.sandbox)
                return Answer({"sandbox": request.sandbox})
            case wire.List():
                return Answer({"sandboxes": self._list()})
            case wire.Reap():
                return Answer({"removed": self.reap(request.keep)})
            case wire.Images():
                return Answer({"images": self._images()})

    def remove(self, name: str) -> None:
        """Kill and remove a sandbox of ours, its helpers and its volumes. Nothing there is fine."""
        mine = (f"bulkhead={self.gateway}", f"bulkhead.sandbox={name}")
        for container in self.engine.containers(*mine):
            self.engine.remove(container["Id"])
        volumes = sorted((volume["Name"] for volume in self.engine.volumes(*mine)), reverse=True)
        for volume in volumes:
            self.engine.remove_volume(volume)

    def _hello(self) -> dict[str, Any]:
        return {
            "protocol": PROTOCOL,
            "gateway": self.gateway,
            "engine": self.engine.facts(),
            "roots": [str(root) for root in self.roots],
            "profiles": {
                name: {"digest": profile.digest(), "image": profile.image, "runtime": profile.runtime}
                for name, profile in self.profiles.items()
            },
        }

    def _images(self) -> list[dict[str, Any]]:
        found = []
        for name, profile in self.profiles.items():
            image = self.engine.image_id(profile.image)
            found.append({"profile": name, "image": profile.image, "present": image is not None, "id": image})
        return found

    def _open(self, request: wire.Open) -> Answer:
        profile = self.profiles.get(request.profile)
        if profile is None:
            raise Refused("unknown_profile", f"no profile {request.profile!r} here")
        checked = check_workspace(request.workspace, self.roots)
        self._refuse_nested(checked)
        name = f"bulkhead-{request.session}-{secrets.token_hex(6)}"
        labels = {
            "bulkhead": self.gateway,
            "bulkhead.session": request.session,
            "bulkhead.sandbox": name,
            "bulkhead.profile": profile.digest(),
            "bulkhead.role": "sandbox",
        }
        try:
            stream = self._create(name, profile, checked, labels)
        except BaseException:
            self.remove(name)
            raise
        return Answer(
            {
                "sandbox": name,
                "profile_digest": profile.digest(),
                "workspace": checked.mount,
                "mode": checked.mode,
                "uid": checked.uid,
                "gid": checked.gid,
                "image": profile.image,
            },
            stream,
            created=name,
        )

    def _create(self, name: str, profile: Profile, checked: Checked, labels: dict[str, str]) -> socket.socket:
        host = self._host()
        mounts = checked.mounts
        if checked.mode == "scratch":
            place = self._layer(name, profile, checked, labels, host, "files")
            self.engine.create_volume(f"{name}-view", {"type": "none", "o": "bind", "device": f"{place}/files"}, labels)
            mounts = (Mount(f"{name}-view", checked.mount, volume=True),)
        elif checked.mode == "copy":
            mounts = (self._overlay(name, profile, checked, labels, host),)
        body = create_body(
            profile,
            uid=checked.uid,
            gid=checked.gid,
            mount=checked.mount,
            mounts=mounts,
            labels=labels | ({"bulkhead.source": checked.source} if checked.mode == "bind" and checked.source else {}),
            host=host,
        )
        self.engine.create(name, body)
        stream = self.engine.attach(name)
        try:
            self.engine.start(name)
            self._compare(name, checked)
        except BaseException:
            stream.close()
            raise
        return stream

    def _layer(
        self, name: str, profile: Profile, checked: Checked, labels: dict[str, str], host: HostSecurity, *dirs: str
    ) -> str:
        """A volume with these directories, owned by the sandbox's user; its place on the engine's disk. The helper
        container is never started: the engine unpacks into its volume all the same."""
        labels = labels | {"bulkhead.role": "prepare"}
        place = self.engine.create_volume(f"{name}-layer", {}, labels)
        layer = Mount(f"{name}-layer", "/layer", volume=True)
        helper = f"{name}-layers"
        self.engine.create(helper, prepare_body(profile, mounts=(layer,), command=["true"], labels=labels, host=host))
        self.engine.unpack(helper, "/layer", _directories(checked.uid, checked.gid, *dirs))
        self.engine.remove(helper)
        return place

    def _overlay(
        self, name: str, profile: Profile, checked: Checked, labels: dict[str, str], host: HostSecurity
    ) -> Mount:
        """A copy-on-write view of the source as a volume: what the sandbox writes lands in a volume of its own."""
        place = self._layer(name, profile, checked, labels, host, "upper", "work")
        labels = labels | {"bulkhead.role": "prepare"}
        options = f"lowerdir={checked.source},upperdir={place}/upper,workdir={place}/work"
        self.engine.create_volume(f"{name}-view", {"type": "overlay", "device": "overlay", "o": options}, labels)
        view = Mount(f"{name}-view", checked.mount, volume=True)
        if checked.take_over:
            owner = f"{checked.uid}:{checked.gid}"
            command = ["chown", "--recursive", "--no-dereference", owner, checked.mount]
            helper = f"{name}-owner"
            self.engine.create(helper, prepare_body(profile, mounts=(view,), command=command, labels=labels, host=host))
            self.engine.start(helper)
            code = self.engine.wait(helper)
            self.engine.remove(helper)
            if code != 0:
                raise Refused("workspace", f"the copy of {checked.source} could not be given to the sandbox's user")
        return view

    def _host(self) -> HostSecurity:
        if self._security is None:
            self._security = self.engine.security()
        return self._security

    def _refuse_nested(self, checked: Checked) -> None:
        """What runs in an outer directory could swap the inner one for a link between check and mount."""
        if checked.source is None:
            return
        for container in self.engine.containers(f"bulkhead={self.gateway}", "bulkhead.source"):
            outer = container["Labels"]["bulkhead.source"]
            if outer != checked.source and PurePosixPath(checked.source).is_relative_to(outer):
                raise Refused("workspace", f"{checked.source} lies inside the workspace {outer} of a running sandbox")

    def _compare(self, name: str, checked: Checked) -> None:
        """Is what got mounted what was checked? Nothing of the user's has run yet."""
        if checked.identities:
            refuse_swapped(checked, self.engine.inspect(name)["State"]["Pid"])

    def _owned(self, name: str) -> dict[str, Any]:
        facts = self.engine.inspect(name)
        labels = facts["Config"]["Labels"] or {}
        if labels.get("bulkhead") != self.gateway or labels.get("bulkhead.role") != "sandbox":
            raise Refused("not_found", f"no sandbox {name} of this gateway")
        return facts

    def _inspect(self, name: str) -> dict[str, Any]:
        facts = self._owned(name)
        state = facts["State"]
        return {
            "sandbox": name,
            "session": facts["Config"]["Labels"]["bulkhead.session"],
            "profile_digest": facts["Config"]["Labels"]["bulkhead.profile"],
            "running": bool(state["Running"]),
            "exit_code": None if state["Running"] else state["ExitCode"],
            "out_of_memory": bool(state["OOMKilled"]),
        }

    def _list(self) -> list[dict[str, Any]]:
        return [
            {
                "sandbox": container["Names"][0].removeprefix("/"),
                "session": container["Labels"]["bulkhead.session"],
                "role": container["Labels"]["bulkhead.role"],
                "profile_digest": container["Labels"]["bulkhead.profile"],
                "state": container["State"],
                "created": container["Created"],
            }
            for container in self.engine.containers(f"bulkhead={self.gateway}", "bulkhead.session")
        ]

    def reap(self, keep: Collection[str]) -> list[str]:
        """Remove every sandbox of ours whose session is not in `keep`; their names."""
        mine = (f"bulkhead={self.gateway}", "bulkhead.session", "bulkhead.sandbox")
        found = self.engine.containers(*mine) + self.engine.volumes(*mine)
        names = {item["Labels"]["bulkhead.sandbox"] for item in found if item["Labels"]["bulkhead.session"] not in keep}
        for name in sorted(names):
            self.remove(name)
        return sorted(names)


def _directories(uid: int, gid: int, *names: str) -> bytes:
    """A tar archive of empty directories owned by the sandbox's user."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o755
            entry.uid, entry.gid = uid, gid
            entry.mtime = int(time.time())
            archive.addfile(entry)
    return buffer.getvalue()
