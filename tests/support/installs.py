"""Clients that tests drive are installed once for each machine, into the user's cache.

Packages come by name through the ordinary package clients. Knows folders; must not know what a client does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["npm_install", "once", "pip_install"]

INSTALL_SECONDS = 600


def once(name: str, marker: str, install: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, made by `install` unless `marker` (a path in it) is already there.

    It is made elsewhere and moved into place whole, so that two runs at once, or one cut short, do no harm.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bulkhead-test-clients"
    place = cache / name
    if (place / marker).exists():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    print(f"installing {name} into {place} (once)", flush=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        draft = Path(scratch) / name
        draft.mkdir()
        install(draft)
        if not (place / marker).exists():
            draft.rename(place)
    return place


def npm_install(package: str) -> Callable[[Path], None]:
    """Installs a package of npm below `node_modules`."""

    def install(folder: Path) -> None:
        command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", package]
        subprocess.run(command, check=True, timeout=INSTALL_SECONDS)

    return install


def pip_install(requirement: str) -> Callable[[Path], None]:
    """Installs a package of PyPI, with what it needs, flat into `site`, for this interpreter."""

    def install(folder: Path) -> None:
        tools = folder / "tools"
        subprocess.run([sys.executable, "-m", "venv", str(tools)], check=True, timeout=INSTALL_SECONDS)
        command = [str(tools / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile"]
        command += ["--disable-pip-version-check", "--target", str(folder / "site"), requirement]
        subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
        shutil.rmtree(tools)

    return install
