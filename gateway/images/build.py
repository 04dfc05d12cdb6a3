"""Builds the images whose inputs changed, by the engine's own builder, with progress.

The classic build call is used because every engine since 20.10 has it; the same Dockerfiles also build with
`docker build` and BuildKit. Knows nothing of what the images are for.
"""

import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TextIO

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound

from gateway.images.base_os import BaseStep, choose_base, provide_base
from gateway.images.errors import EngineMissing, ImageError
from gateway.images.progress import Progress
from gateway.images.recipes import (
    RECIPES,
    Input,
    Recipe,
    SourceTree,
    inputs_digest,
    machine_authorities,
    pack_context,
    read_inputs,
)

IMAGE_LABEL = "bulkhead=image"
"""On every image and build stage, by their Dockerfiles."""
INPUTS_LABEL = "bulkhead.inputs"
"""Digest of everything the image was built from; equal means current."""
PASSED_ARGS = (
    "PIP_INDEX_URL",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""Build arguments taken from the environment when set. They say where bytes come from, not what they
are, so the digest leaves them out."""
BUILD_QUIET_SECONDS = 900


@dataclass(frozen=True)
class ImageState:
    """One image after a look or a build."""

    name: str
    tag: str
    state: Literal["current", "stale", "absent", "built"]
    id: str
    """Image id, empty when absent."""
    inputs: str
    """Digest of the files in this tree, empty while no base image is known."""
    size: int
    """Bytes, shared layers included."""
    about: str
    seconds: float = 0.0
    """How long the build took."""


def connect() -> docker.APIClient:
    """The engine named by DOCKER_HOST, else the local one."""
    try:
        client = docker.from_env(version="auto", timeout=BUILD_QUIET_SECONDS).api
        client.ping()
    except (DockerException, requests.RequestException) as error:
        host = os.environ.get("DOCKER_HOST", "the default socket")
        message = f"No Docker engine answers at {host}: run `make setup`, or start the engine."
        raise EngineMissing(message) from error
    return client


def states(client: docker.APIClient, tree: SourceTree, names: Iterable[str] = tuple(RECIPES)) -> list[ImageState]:
    """How each image stands against the files in `tree`; builds and pulls nothing."""
    choice = choose_base(os.environ.get("BASE_IMAGE"), None, _tags(client))
    base = _inspect(client, choice.ref) if choice.step is BaseStep.USE else None
    return [_state(client, RECIPES[name], tree, base["Id"] if base else "") for name in names]


def build(
    client: docker.APIClient,
    tree: SourceTree,
    names: Sequence[str],
    *,
    asked_base: str | None,
    base_tar: Path | None,
    force: bool,
    out: TextIO,
) -> list[ImageState]:
    """Brings every named image up to date, in order; the first failure raises ImageError."""
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        raise ImageError(f"No image is called {', '.join(unknown)}; there are {', '.join(RECIPES)}.")
    choice = choose_base(asked_base, base_tar, _tags(client))
    with Progress(f"Base image: {choice.ref} ({choice.reason})", out) as progress:
        ref = provide_base(client, choice, base_tar, progress)
    base = _inspect(client, ref)
    if base is None:
        raise ImageError(f"The engine lost {ref} while it was being prepared; run the command again.")
    built = []
    for name in names:
        before = _state(client, RECIPES[name], tree, base["Id"])
        if before.state == "current" and not force:
            print(f"{before.tag} is current ({before.size // 1_000_000} MB)", file=out, flush=True)
            built.append(before)
        else:
            built.append(_rebuild(client, RECIPES[name], tree, before, ref, base["Id"], out))
    return built


def _rebuild(
    client: docker.APIClient,
    recipe: Recipe,
    tree: SourceTree,
    before: ImageState,
    base_ref: str,
    base_id: str,
    out: TextIO,
) -> ImageState:
    with Progress(f"Building {recipe.tag}", out) as progress:
        inputs = read_inputs(recipe, tree)
        digest = inputs_digest(inputs, base_id)
        if recipe.trusts_machine:
            inputs += machine_authorities()
        _run_build(client, recipe, inputs, digest, base_ref, progress)
        _remove_replaced(client, before.id)
        after = _state(client, recipe, tree, base_id)
        progress.say(f"Built {recipe.tag} ({after.size // 1_000_000} MB)")
        return replace(after, state="built", seconds=round(progress.seconds(), 1))


def _run_build(
    client: docker.APIClient,
    recipe: Recipe,
    inputs: list[Input],
    digest: str,
    base_ref: str,
    progress: Progress,
) -> None:
    passed = {name: os.environ[name] for name in PASSED_ARGS if os.environ.get(name)}
    try:
        for event in client.build(
            fileobj=io.BytesIO(pack_context(inputs)),
            custom_context=True,
            dockerfile=recipe.dockerfile,
            tag=f"{recipe.tag}:latest",
            buildargs={"BASE_IMAGE": base_ref, **passed},
            labels={INPUTS_LABEL: digest},
            rm=True,
            forcerm=True,
            decode=True,
        ):
            _show(event, progress)
            if "error" in event:
                raise ImageError(
                    f"Building {recipe.tag} failed: {event['error']}; if a mirror could not be reached, "
                    "check that containers of this engine have a network.",
                    progress.tail(),
                )
    except (APIError, requests.RequestException) as error:
        raise ImageError(f"The engine broke off building {recipe.tag}: {error}", progress.tail()) from error


def _show(event: dict[str, Any], progress: Progress) -> None:
    for line in str(event.get("stream", "")).splitlines():
        if line.startswith("Step "):
            progress.say(f"  {line}")
        else:
            progress.output(line)


def _state(client: docker.APIClient, recipe: Recipe, tree: SourceTree, base_id: str) -> ImageState:
    digest = inputs_digest(read_inputs(recipe, tree), base_id) if base_id else ""
    image = _inspect(client, f"{recipe.tag}:latest")
    if image is None:
        return ImageState(recipe.name, recipe.tag, "absent", "", digest, 0, recipe.about)
    labels = (image.get("Config") or {}).get("Labels") or {}
    current = bool(digest) and labels.get(INPUTS_LABEL) == digest
    return ImageState(
        name=recipe.name,
        tag=recipe.tag,
        state="current" if current else "stale",
        id=str(image["Id"]),
        inputs=digest,
        size=int(image["Size"]),
        about=recipe.about,
    )


def _inspect(client: docker.APIClient, ref: str) -> dict[str, Any] | None:
    look: Callable[[str], dict[str, Any]] = client.inspect_image
    try:
        return look(ref)
    except ImageNotFound:
        return None


def _tags(client: docker.APIClient) -> set[str]:
    return {tag for image in client.images() for tag in image.get("RepoTags") or ()}


def _remove_replaced(client: docker.APIClient, previous: str) -> None:
    """Drops the image that the new one replaced, and stages of earlier builds; the newest stage stays as cache.

    What a container still uses stays too: the engine refuses, and the next build tries again.
    """
    untagged = client.images(filters={"dangling": True, "label": IMAGE_LABEL})
    stages = sorted((item for item in untagged if item["Id"] != previous), key=lambda item: int(item["Created"]))
    replaced = [item["Id"] for item in untagged if item["Id"] == previous]
    for image_id in [*replaced, *(item["Id"] for item in stages[:-1])]:
        try:
            client.remove_image(image_id)
        except APIError as error:
            if error.status_code not in (404, 409):
                raise
