"""The errors of this room. Each message is one sentence with the remedy, fit to show the operator."""

from typing import ClassVar


class ImageError(Exception):
    """An image can't be prepared."""

    exit_code: ClassVar[int] = 1
    """What `bulkhead images` ends with; scripts/setup acts on it."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail
        """The last lines of output of what failed, empty when there are none."""


class EngineMissing(ImageError):
    """No engine answers."""

    exit_code = 3


class BootstrapMissing(ImageError):
    """The base image would have to be made here, and the program that makes it is not installed."""

    exit_code = 4
