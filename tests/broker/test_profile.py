"""What the broker creates: the profile's limits, its digest, and the create request built from it."""

import dataclasses
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gateway.broker.body import HostSecurity, Mount, create_body, prepare_body
from gateway.broker.profile import HOME, Limits, Profile
from gateway.broker.seccomp import seccomp_json

BASE = Path(__file__).resolve().parents[2] / "sandbox-images/base"
PROFILE = Profile()


def body(profile: Profile = PROFILE, host: HostSecurity | None = None, *mounts: Mount) -> dict[str, Any]:
    return create_body(
        profile,
        uid=1234,
        gid=1235,
        mount="/srv/code",
        mounts=mounts,
        labels={"bulkhead": "g"},
        host=host or HostSecurity(),
    )


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_seccomp", BASE / "make_seccomp.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NetworkMode", "none"),
        ("Privileged", False),
        ("CapDrop", ["ALL"]),
        ("CapAdd", []),
        ("ReadonlyRootfs", True),
        ("IpcMode", "private"),
        ("PidMode", ""),
        ("UTSMode", ""),
        ("UsernsMode", ""),
        ("CgroupnsMode", "private"),
        ("Devices", []),
        ("DeviceCgroupRules", []),
        ("LogConfig", {"Type": "none", "Config": {}}),
        ("RestartPolicy", {"Name": "no", "MaximumRetryCount": 0}),
        ("AutoRemove", False),
        ("Init", False),
        ("Runtime", "runc"),
        ("Memory", 2 << 30),
        ("MemorySwap", 2 << 30),
        ("NanoCpus", 2_000_000_000),
        ("PidsLimit", 512),
        ("ShmSize", 64 << 20),
        ("OomKillDisable", False),
        ("Mounts", []),
    ],
)
def test_the_host_part_of_a_sandbox_is(name: str, value: object) -> None:
    assert body()["HostConfig"][name] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Image", "bulkhead/sandbox-python:latest"),
        ("Entrypoint", ["python3", "-I", "-S", "/opt/bulkhead/toolhost"]),
        ("Cmd", []),
        ("User", "1234:1235"),
        ("WorkingDir", "/"),
        ("Hostname", "sandbox"),
        ("Domainname", ""),
        ("Tty", False),
        ("OpenStdin", True),
        ("StdinOnce", False),
        ("StopSignal", "SIGKILL"),
        ("Healthcheck", {"Test": ["NONE"]}),
        ("Labels", {"bulkhead": "g"}),
    ],
)
def test_the_program_part_of_a_sandbox_is(name: str, value: object) -> None:
    assert body()[name] == value


def test_nothing_else_is_asked_of_the_engine() -> None:
    known = {
        "Image",
        "Entrypoint",
        "Cmd",
        "User",
        "WorkingDir",
        "Hostname",
        "Domainname",
        "Env",
        "Labels",
        "AttachStdin",
    }
    known |= {
        "AttachStdout",
        "AttachStderr",
        "OpenStdin",
        "StdinOnce",
        "Tty",
        "StopSignal",
        "Healthcheck",
        "HostConfig",
    }
    assert set(body()) == known
    for forbidden in (
        "Binds",
        "VolumesFrom",
        "PortBindings",
        "PublishAllPorts",
        "ExtraHosts",
        "Links",
        "Sysctls",
        "Dns",
    ):
        assert forbidden not in body()["HostConfig"]


def test_the_environment_is_minimal_and_tells_the_toolhost_its_places() -> None:
    env = dict(item.split("=", 1) for item in body()["Env"])
    assert set(env) == {"PATH", "HOME", "LANG", "BULKHEAD_TOOLHOST"}
    assert json.loads(env["BULKHEAD_TOOLHOST"]) == {
        "roots": ["/srv/code", "/tmp", HOME],
        "workspace": "/srv/code",
        "home": HOME,
        "linger": True,
    }


def test_the_filter_travels_by_content_with_no_new_privileges() -> None:
    assert body()["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true", "seccomp=" + seccomp_json()]


def test_mandatory_access_control_is_asked_for_only_where_the_host_has_it() -> None:
    options = body(host=HostSecurity(apparmor=True, selinux=True))["HostConfig"]["SecurityOpt"]
    assert options[2:] == ["apparmor=docker-default", "label=type:container_t"]
    assert "CgroupnsMode" not in body(host=HostSecurity(private_cgroupns=False))["HostConfig"]


def test_memory_places_are_sized_and_counted_and_gain_no_privileges() -> None:
    places = body()["HostConfig"]["Tmpfs"]
    assert set(places) == {"/tmp", HOME, "/run"}
    for options in places.values():
        assert {"nosuid", "nodev"} <= set(options.split(","))
        assert "size=" in options and "nr_inodes=" in options
    assert "uid=1234,gid=1235" in places[HOME] and "mode=0700" in places[HOME]


def test_mounts_never_propagate_nor_bring_others_along() -> None:
    mounts = body(PROFILE, None, Mount("/a", "/b"), Mount("/c", "/d", readonly=True), Mount("v", "/e", volume=True))
    bind, readonly, volume = mounts["HostConfig"]["Mounts"]
    assert bind["BindOptions"] == {"Propagation": "rprivate", "NonRecursive": True}
    assert (bind["ReadOnly"], readonly["ReadOnly"]) == (False, True)
    assert volume["Type"] == "volume"


def test_the_preparing_container_is_confined_too() -> None:
    made = prepare_body(PROFILE, mounts=(), command=["true"], labels={}, host=HostSecurity())
    host = made["HostConfig"]
    assert host["NetworkMode"] == "none" and host["CapDrop"] == ["ALL"] and host["ReadonlyRootfs"]
    assert host["CapAdd"] == ["CHOWN", "DAC_OVERRIDE", "FOWNER"]
    assert "AttachStdin" not in made and "OpenStdin" not in made


def test_files_in_memory_may_not_outgrow_half_of_it() -> None:
    with pytest.raises(ValueError, match="half"):
        Limits(tmp=1 << 30)
    Limits(tmp=1 << 30, memory=4 << 30)


@pytest.mark.parametrize(
    "other",
    [
        Profile(image="other"),
        Profile(runtime="runsc"),
        Profile(toolhost="/x"),
        Profile(seccomp="{}"),
        *(
            Profile(limits=dataclasses.replace(Limits(), **{item.name: getattr(Limits(), item.name) - 1}))
            for item in dataclasses.fields(Limits)
            if item.name != "core"
        ),
    ],
    ids=str,
)
def test_every_difference_changes_the_digest(other: Profile) -> None:
    assert other.digest() != PROFILE.digest()


def test_the_digest_is_the_same_every_time() -> None:
    assert Profile().digest() == PROFILE.digest()
    assert PROFILE.digest().startswith("sha256:")


def test_every_limit_is_documented_where_it_is_declared() -> None:
    for item in dataclasses.fields(Limits):
        assert item.metadata["unit"] and item.metadata["reached"], item.name


def test_the_committed_filter_is_what_the_generator_makes() -> None:
    assert json.loads((BASE / "seccomp.json").read_text()) == generator().profile()


def test_the_filter_allows_no_call_that_it_says_it_removed() -> None:
    rules = json.loads(seccomp_json())["syscalls"]
    free = {name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" and not rule["args"] for name in rule["names"]}
    forbidden = {"ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_madvise", "bpf"}
    forbidden |= {"modify_ldt", "fanotify_mark", "name_to_handle_at", "open_by_handle_at", "userfaultfd", "keyctl"}
    forbidden |= {
        "add_key",
        "request_key",
        "mount",
        "umount2",
        "unshare",
        "setns",
        "clone",
        "clone3",
        "socket",
        "prlimit64",
    }
    forbidden |= {"io_uring_setup", "socketpair", "personality", "perf_event_open", "chroot", "pivot_root", "reboot"}
    forbidden |= {"init_module", "finit_module", "kexec_load", "move_mount", "fsopen", "open_tree", "mount_setattr"}
    assert free & forbidden == set()
    assert json.loads(seccomp_json())["defaultAction"] == "SCMP_ACT_ERRNO"
    assert all(entry["subArchitectures"] == [] for entry in json.loads(seccomp_json())["archMap"])
