"""The engine's command-line client, where there is one: what a script that shells out to it pays."""

from __future__ import annotations

import asyncio
import shutil

__all__ = ["available", "docker"]


def available() -> bool:
    return shutil.which("docker") is not None


async def docker(*arguments: str) -> None:
    """Run `docker ARGUMENTS`. Raises RuntimeError when it fails."""
    process = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait() != 0:
        raise RuntimeError(f"docker {' '.join(arguments)} ended with {process.returncode}")
