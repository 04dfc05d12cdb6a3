"""The peer: LiteLLM's proxy from PyPI, in a Python environment of its own below the user's cache.

Installed once, by pip, some 740 MiB. It runs as its documentation says for speed: one worker, no database, no
callbacks, errors only in its log, and with everything switched off that would look outside this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from benchmarks.forwarding.requests import MODEL
from benchmarks.servers import Server, listening_on, run

__all__ = ["VERSION", "installed", "litellm"]

VERSION = "1.106.2"
INSTALL_SECONDS = 900.0
KEY = "sk-benchmark"

_CONFIG = """\
model_list:
  - model_name: {model}
    litellm_params:
      model: anthropic/{model}
      api_base: {upstream}
      api_key: benchmark
general_settings:
  master_key: {key}
litellm_settings:
  telemetry: false
  num_retries: 0
  request_timeout: 120
"""

_QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_TELEMETRY": "False",
    "DISABLE_ADMIN_UI": "True",
    "DO_NOT_TRACK": "1",
}


def _home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "bulkhead-benchmarks" / "litellm"


async def installed(say: Callable[[str], None]) -> Path | None:
    """Its command, installed now if need be; None where that cannot be done."""
    home = _home()
    command, mark = home / "bin" / "litellm", home / f"installed-{VERSION}"
    if mark.exists() and command.exists():
        return command
    say(f"installing LiteLLM {VERSION} into {home}, once, some 740 MiB")
    shutil.rmtree(home, ignore_errors=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", f"litellm[proxy]=={VERSION}"]
    if await _succeeds(sys.executable, "-m", "venv", str(home)) and await _succeeds(*pip):
        mark.touch()
        return command
    say("LiteLLM cannot be installed here; its rows are left out")
    return None


@contextlib.asynccontextmanager
async def litellm(command: Path, directory: Path, upstream_url: str) -> AsyncIterator[Server]:
    config = directory / "litellm.yaml"
    config.write_text(_CONFIG.format(model=MODEL, upstream=upstream_url, key=KEY))
    port = _free_port()
    arguments = [str(command), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--num_workers", "1", "--telemetry", "False"]

    def ready(_output: str) -> tuple[str, str] | None:
        return (f"http://127.0.0.1:{port}", KEY) if listening_on(port) else None

    async with run("litellm", arguments, directory, _QUIET, ready) as server:
        yield server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _succeeds(*command: str) -> bool:
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        async with asyncio.timeout(INSTALL_SECONDS):
            return await process.wait() == 0
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
