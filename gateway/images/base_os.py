"""The operating system image under every Dockerfile: found, pulled, imported, or made on this machine.

Machines without a registry are the normal case: a Debian root file system is then made by mmdebstrap from
the package mirror this machine already uses, and imported. Knows the engine's image calls; knows nothing of
what is built on top.
"""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import docker
import requests
from docker.errors import APIError, DockerException

from gateway.images.errors import BootstrapMissing, ImageError
from gateway.images.progress import Progress

SUITE = "bookworm"
REGISTRY_BASE = "debian:bookworm-slim"
BOOTSTRAPPED_BASE = "bulkhead/base-os:bookworm"
PULL_QUIET_SECONDS = 10
"""Without a byte for this long, a registry counts as absent."""
BOOTSTRAP_SECONDS = 900
BUILD_EPOCH = "1700000000"
"""Latest file time inside the bootstrapped image, so that two runs on the same mirror agree."""
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")


class BaseStep(StrEnum):
    USE = "use"
    IMPORT = "import"
    PULL = "pull"
    PULL_OR_BOOTSTRAP = "pull_or_bootstrap"


@dataclass(frozen=True)
class BaseChoice:
    """Which base image to build on, and what has to happen first."""

    step: BaseStep
    ref: str
    reason: str


def choose_base(asked: str | None, tarball: Path | None, present: Collection[str]) -> BaseChoice:
    """Decides from what the operator asked for and the tags the engine already has. Touches nothing."""
    if tarball is not None:
        return BaseChoice(BaseStep.IMPORT, BOOTSTRAPPED_BASE, "a root file system archive was given")
    if asked is not None:
        if asked in present:
            return BaseChoice(BaseStep.USE, asked, "asked for, and the engine has it")
        return BaseChoice(BaseStep.PULL, asked, "asked for, and the engine does not have it")
    if REGISTRY_BASE in present:
        return BaseChoice(BaseStep.USE, REGISTRY_BASE, "the engine has it")
    if BOOTSTRAPPED_BASE in present:
        return BaseChoice(BaseStep.USE, BOOTSTRAPPED_BASE, "made on this machine earlier")
    return BaseChoice(BaseStep.PULL_OR_BOOTSTRAP, REGISTRY_BASE, "the engine has no base image yet")


def provide_base(client: docker.APIClient, choice: BaseChoice, tarball: Path | None, progress: Progress) -> str:
    """Carries the choice out; returns the reference to build on."""
    match choice.step:
        case BaseStep.USE:
            return choice.ref
        case BaseStep.IMPORT:
            if tarball is None or not tarball.is_file():
                raise ImageError(f"{tarball} is not a file; give a tar of a Debian root file system with --base-tar.")
            return _import_tar(client, tarball, progress)
        case BaseStep.PULL:
            if not _pull(choice.ref, progress):
                raise ImageError(
                    f"No registry gave {choice.ref}; load it with `docker load`, or leave --base-image out.",
                    progress.tail(),
                )
            return choice.ref
        case BaseStep.PULL_OR_BOOTSTRAP:
            if _pull(choice.ref, progress):
                return choice.ref
            progress.say(f"No registry answers; making {BOOTSTRAPPED_BASE} from this machine's Debian mirror")
            with tempfile.TemporaryDirectory(prefix="bulkhead-base-") as scratch:
                archive = Path(scratch) / "base.tar"
                _bootstrap(archive, progress)
                return _import_tar(client, archive, progress)


def apt_sources(index_targets: str, suite: str) -> list[str]:
    """Source lines for `suite` out of `apt-get indextargets` rows `uri|origin|codename|component`."""
    wanted = (suite, f"{suite}-updates", f"{suite}-security")
    lines: list[str] = []
    for row in index_targets.splitlines():
        fields = row.strip().split("|")
        if len(fields) == 4 and fields[1] == "Debian" and fields[2] in wanted and fields[3] == "main":
            line = f"deb {fields[0]} {fields[2]} {fields[3]}"
            if line not in lines:
                lines.append(line)
    return lines if any(line.split()[2] == suite for line in lines) else []


def _configured_sources() -> list[str]:
    """MMDEBSTRAP_MIRROR wins, then this machine's apt configuration; empty: mmdebstrap's own default."""
    mirror = os.environ.get("MMDEBSTRAP_MIRROR")
    if mirror:
        return [mirror if mirror.startswith("deb ") else f"deb {mirror} {SUITE} main"]
    if shutil.which("apt-get") is None:
        return []
    rows = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(ORIGIN)|$(CODENAME)|$(COMPONENT)"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return apt_sources(rows.stdout, SUITE)


def _bootstrap(archive: Path, progress: Progress) -> None:
    if shutil.which("mmdebstrap") is None:
        raise BootstrapMissing(
            "No registry answers and mmdebstrap is not installed: `apt-get install mmdebstrap`, "
            "or give a Debian root file system with --base-tar FILE."
        )
    sources = _configured_sources()
    progress.say(f"mmdebstrap {SUITE} from {'; '.join(sources) if sources else 'its default mirror'} (about 40 s)")
    excludes = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    command = [
        "mmdebstrap",
        "--variant=minbase",
        "--include=ca-certificates",
        *excludes,
        SUITE,
        str(archive),
        *sources,
    ]
    status = _run_streaming(command, {**os.environ, "SOURCE_DATE_EPOCH": BUILD_EPOCH}, progress)
    if status != 0 or not archive.is_file():
        raise ImageError(
            f"mmdebstrap failed with status {status}: check this machine's Debian mirror, set "
            "MMDEBSTRAP_MIRROR, or give a root file system with --base-tar FILE.",
            progress.tail(),
        )


def _run_streaming(command: list[str], environment: dict[str, str], progress: Progress) -> int:
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as process:
        deadline = threading.Timer(BOOTSTRAP_SECONDS, process.terminate)
        deadline.start()
        try:
            if process.stdout is not None:
                for line in process.stdout:
                    progress.output(line)
            return process.wait()
        finally:
            deadline.cancel()


def _import_tar(client: docker.APIClient, archive: Path, progress: Progress) -> str:
    repository, _, tag = BOOTSTRAPPED_BASE.partition(":")
    progress.say(f"Importing {archive.name} ({archive.stat().st_size // 1_000_000} MB) as {BOOTSTRAPPED_BASE}")
    try:
        client.import_image(
            str(archive),
            repository=repository,
            tag=tag,
            changes=['LABEL bulkhead="base"', 'CMD ["/bin/bash"]'],
        )
    except APIError as error:
        raise ImageError(f"The engine refused the root file system archive: {error.explanation}") from error
    return BOOTSTRAPPED_BASE


def _pull(ref: str, progress: Progress) -> bool:
    """True when the engine now has `ref`. A refusal or silence is an ordinary answer, not an error."""
    progress.say(f"Asking the registry for {ref}")
    name, _, tag = ref.rpartition(":")
    client = docker.from_env(version="auto", timeout=PULL_QUIET_SECONDS).api
    try:
        for event in client.pull(name or ref, tag=tag if name else "latest", stream=True, decode=True):
            if "error" in event:
                progress.output(str(event["error"]))
                return False
            progress.output(f"{event.get('id', '')} {event.get('status', '')}")
    except (DockerException, requests.RequestException) as error:
        progress.output(str(error))
        return False
    finally:
        client.close()
    return True
