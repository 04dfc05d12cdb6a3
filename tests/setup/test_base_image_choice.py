"""Which base image is built on, as a table, and where its packages come from when it is made here."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from gateway.images.base_os import BaseStep, apt_sources, choose_base, provide_base
from gateway.images.errors import BootstrapMissing, ImageError
from gateway.images.progress import Progress

DEBIAN = "debian:bookworm-slim"
OURS = "bulkhead/base-os:bookworm"


@pytest.mark.parametrize(
    ("asked", "tarball", "present", "step", "ref"),
    [
        (None, None, (), BaseStep.PULL_OR_BOOTSTRAP, DEBIAN),
        (None, None, (DEBIAN,), BaseStep.USE, DEBIAN),
        (None, None, (OURS,), BaseStep.USE, OURS),
        (None, None, (OURS, DEBIAN), BaseStep.USE, DEBIAN),
        ("site/os:1", None, ("site/os:1", DEBIAN), BaseStep.USE, "site/os:1"),
        ("site/os:1", None, (DEBIAN,), BaseStep.PULL, "site/os:1"),
        (None, Path("os.tar"), (DEBIAN, OURS), BaseStep.IMPORT, OURS),
        ("site/os:1", Path("os.tar"), ("site/os:1",), BaseStep.IMPORT, OURS),
    ],
)
def test_the_choice_follows_what_was_asked_then_what_is_there(
    asked: str | None, tarball: Path | None, present: tuple[str, ...], step: BaseStep, ref: str
) -> None:
    choice = choose_base(asked, tarball, present)
    assert (choice.step, choice.ref) == (step, ref)
    assert choice.reason


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("", []),
        (
            "http://mirror/debian/|Debian|bookworm|main\nhttp://mirror/debian/|Debian|bookworm|main\n",
            ["deb http://mirror/debian/ bookworm main"],
        ),
        (
            "http://m/sec/|Debian|bookworm-security|main\nhttp://m/d/|Debian|bookworm|main\n",
            ["deb http://m/sec/ bookworm-security main", "deb http://m/d/ bookworm main"],
        ),
        ("http://m/sec/|Debian|bookworm-security|main\n", []),
        ("http://m/ubuntu/|Ubuntu|noble|main\nhttp://tools/|Tools|bookworm|main\n", []),
        ("http://m/d/|Debian|bookworm|contrib\nbroken row\n", []),
    ],
)
def test_only_the_machines_debian_mirror_of_the_suite_is_used(rows: str, expected: list[str]) -> None:
    assert apt_sources(rows, "bookworm") == expected


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, engine_socket: Path) -> Iterator[docker.APIClient]:
    """A client of an engine without a registry, on a machine without programs."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine_socket}")
    monkeypatch.setenv("PATH", str(engine_socket.parent))
    with contextlib.closing(docker.APIClient(version="1.41")) as client:
        yield client


def test_without_registry_and_mmdebstrap_the_remedy_is_named(client: docker.APIClient) -> None:
    with Progress("base", io.StringIO()) as progress, pytest.raises(BootstrapMissing) as caught:
        provide_base(client, choose_base(None, None, ()), None, progress)
    assert "apt-get install mmdebstrap" in str(caught.value)
    assert "--base-tar" in str(caught.value)
    assert caught.value.exit_code == 4


def test_an_image_asked_for_that_no_registry_has_is_an_error_not_another_base(client: docker.APIClient) -> None:
    with Progress("base", io.StringIO()) as progress, pytest.raises(ImageError, match="No registry gave site/os:1"):
        provide_base(client, choose_base("site/os:1", None, ()), None, progress)


def test_a_base_archive_that_is_no_file_is_named(client: docker.APIClient, tmp_path: Path) -> None:
    archive = tmp_path / "missing.tar"
    with Progress("base", io.StringIO()) as progress, pytest.raises(ImageError, match=r"missing\.tar is not a file"):
        provide_base(client, choose_base(None, archive, ()), archive, progress)
