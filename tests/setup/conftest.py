"""A machine of our own making for the scripts: a PATH that holds ordinary tools and the fakes a test adds."""

import http.server
import os
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (
    "bash",
    "basename",
    "cat",
    "chmod",
    "cut",
    "date",
    "dirname",
    "env",
    "find",
    "grep",
    "head",
    "kill",
    "mkdir",
    "mktemp",
    "rm",
    "sed",
    "setsid",
    "sh",
    "sleep",
    "tail",
    "touch",
    "tr",
)


@dataclass
class Machine:
    """Runs the repository's scripts where only TOOLS and the fakes exist."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def fake(self, name: str, body: str) -> None:
        """A command of that name, written in sh; it may use $MACHINE for files."""
        path = self.directory / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(part) for part in command],
            env={"PATH": str(self.directory / "bin"), "MACHINE": str(self.directory), **self.environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


def sentences(result: subprocess.CompletedProcess[str]) -> list[str]:
    """The error sentences a script ended with."""
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    directory = tmp_path / "machine"
    (directory / "bin").mkdir(parents=True)
    for tool in TOOLS:
        found = shutil.which(tool, path=os.defpath + ":/usr/bin:/bin")
        if found is not None:
            (directory / "bin" / tool).symlink_to(found)
    return Machine(directory)


@pytest.fixture
def one_sentence() -> Callable[[subprocess.CompletedProcess[str]], str]:
    """Checks that exactly one sentence was given, and gives it."""

    def check(result: subprocess.CompletedProcess[str]) -> str:
        found = sentences(result)
        assert len(found) == 1, result.stderr
        assert result.stderr.rstrip().endswith(found[0])
        return found[0]

    return check


class _EngineReply(http.server.BaseHTTPRequestHandler):
    """An engine that has a version, no images, and no way to a registry."""

    def do_GET(self) -> None:
        self._send(200, b'{"Version": "42.0", "ApiVersion": "1.41"}')

    def do_POST(self) -> None:
        self._send(404, b'{"message": "lookup of the registry: no such host"}')

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def engine_socket(tmp_path: Path) -> Iterator[Path]:
    """The socket of a small stand-in for an engine without a registry."""
    path = tmp_path / "engine.sock"
    with socketserver.UnixStreamServer(str(path), _EngineReply) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()
