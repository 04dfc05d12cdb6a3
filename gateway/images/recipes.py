"""What each image is made of, and one digest over all of it.

The digest decides whether an image is rebuilt, and the build context is packed from the very same file list,
so nothing can enter an image without entering its digest. Knows files only; the engine is `build`'s concern.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.images.errors import ImageError

IGNORED_DIRECTORIES = {"__pycache__", ".mypy_cache", ".ruff_cache"}
"""Left out of every context; `.dockerignore` says the same to `docker build`."""

MACHINE_AUTHORITIES = Path("/usr/local/share/ca-certificates")
"""Where Debian keeps the certificate authorities a site added."""


@dataclass(frozen=True)
class Recipe:
    """One image: where its Dockerfile is and every file the build may see."""

    name: str
    """What `bulkhead images build` calls it."""
    tag: str
    """Repository name in the engine; always tagged `latest`."""
    context: Literal["images", "checkout"]
    """What the engine is sent: the directory of the Dockerfiles, or the whole checkout."""
    dockerfile: str
    """Path inside the context."""
    inputs: tuple[str, ...]
    """Files and directories inside the context that the Dockerfile copies."""
    about: str
    """One line for `bulkhead images list`."""
    trusts_machine: bool = False
    """Whether the build fetches packages under the certificate authorities this machine was given."""


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="base",
            tag="bulkhead/sandbox-base",
            context="images",
            dockerfile="base/Dockerfile",
            inputs=("base", "toolhost"),
            about="shell, git, ripgrep and the toolhost",
        ),
        Recipe(
            name="python",
            tag="bulkhead/sandbox-python",
            context="images",
            dockerfile="python/Dockerfile",
            inputs=("base", "python", "toolhost"),
            about="base with pip, venv and pytest (the default sandbox)",
        ),
        Recipe(
            name="full",
            tag="bulkhead/sandbox-full",
            context="images",
            dockerfile="full/Dockerfile",
            inputs=("base", "python", "full", "toolhost"),
            about="python with compilers, Go, Node.js and Ruby",
        ),
        Recipe(
            name="gateway",
            tag="bulkhead/gateway",
            context="checkout",
            dockerfile="sandbox-images/gateway/Dockerfile",
            inputs=("pyproject.toml", "requirements.lock", "gateway", "sandbox-images"),
            about="the gateway and the broker, for compose",
            trusts_machine=True,
        ),
    )
}

DEFAULT_IMAGES = ("base", "python")
"""What `make setup` builds: enough to run sessions."""


@dataclass(frozen=True)
class SourceTree:
    """Where the files are."""

    images: Path
    """The directory of the Dockerfiles."""
    checkout: Path | None
    """The repository; None in an installed package."""


@dataclass(frozen=True)
class Input:
    """One file of a build context."""

    name: str
    """Path inside the context, with forward slashes."""
    executable: bool
    content: bytes


def source_tree() -> SourceTree:
    """The checkout this package lies in, else the Dockerfiles that came inside the installed package."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent
    if (checkout / "sandbox-images").is_dir():
        return SourceTree(images=checkout / "sandbox-images", checkout=checkout)
    return SourceTree(images=package / "_images", checkout=None)


def read_inputs(recipe: Recipe, tree: SourceTree) -> list[Input]:
    """Every file of the recipe's context, sorted by name. Raises ImageError naming one that is missing."""
    context = tree.images if recipe.context == "images" else tree.checkout
    if context is None:
        raise ImageError(f"{recipe.tag} is built from a source checkout: an installed package has no lock file.")
    paths: set[Path] = set()
    for name in (recipe.dockerfile, *recipe.inputs):
        paths.update(_files_under(context / name))
    return [
        Input(
            name=path.relative_to(context).as_posix(),
            executable=bool(path.stat().st_mode & 0o100),
            content=path.read_bytes(),
        )
        for path in sorted(paths)
    ]


def machine_authorities(directory: Path = MACHINE_AUTHORITIES) -> list[Input]:
    """This machine's own certificate authorities as context files; they reach no finished image."""
    return [
        Input(name=f"sandbox-images/gateway/ca/{path.name}", executable=False, content=path.read_bytes())
        for path in sorted(directory.glob("*.crt"))
    ]


def inputs_digest(inputs: list[Input], base_id: str) -> str:
    """Changes when any file, any executable bit or the base image changes; not with the order of files."""
    digest = hashlib.sha256()
    for item in sorted(inputs, key=lambda item: item.name):
        content = hashlib.sha256(item.content).hexdigest()
        digest.update(f"file\0{item.name}\0{item.executable}\0{content}\n".encode())
    digest.update(f"base\0{base_id}\n".encode())
    return digest.hexdigest()


def pack_context(inputs: list[Input]) -> bytes:
    """The context as a tar whose bytes depend on nothing but the inputs (no owner, no time)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for item in inputs:
            entry = tarfile.TarInfo(item.name)
            entry.size = len(item.content)
            entry.mode = 0o755 if item.executable else 0o644
            tar.addfile(entry, io.BytesIO(item.content))
    return buffer.getvalue()


def _files_under(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise ImageError(f"{path} is missing from the source tree: check it out again.")
    for child in path.rglob("*"):
        if child.is_file() and not IGNORED_DIRECTORIES & set(child.relative_to(path).parts):
            yield child
