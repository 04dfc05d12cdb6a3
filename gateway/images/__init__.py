"""The images Bulkhead runs: what goes into each, whether it is still current, and how it is built.

An operator's tool, called by `bulkhead images` and `make setup`. It talks to the engine directly, so nothing
that serves requests may import it. It knows the Dockerfiles' inputs, and nothing of sessions or policy.
"""

from gateway.images.base_os import BaseChoice, BaseStep, choose_base
from gateway.images.build import ImageState, build, connect, states
from gateway.images.errors import EngineMissing, ImageError
from gateway.images.recipes import DEFAULT_IMAGES, RECIPES, Recipe, source_tree

__all__ = [
    "DEFAULT_IMAGES",
    "RECIPES",
    "BaseChoice",
    "BaseStep",
    "EngineMissing",
    "ImageError",
    "ImageState",
    "Recipe",
    "build",
    "choose_base",
    "connect",
    "source_tree",
    "states",
]
