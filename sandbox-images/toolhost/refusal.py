"""The one error a method may answer with: a stable reason and a sentence. Knows nothing of frames or files."""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MESSAGE_LIMIT = 1000

_BY_ERRNO = {
    errno.ENOENT: "not_found",
    errno.EISDIR: "is_directory",
    errno.ENOTDIR: "not_a_directory",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EROFS: "permission",
    errno.EEXIST: "exists",
    errno.ENOTEMPTY: "exists",
    errno.EFBIG: "too_large",
    errno.ENAMETOOLONG: "invalid",
    errno.ENOEXEC: "invalid",
    errno.EINVAL: "invalid",
    errno.E2BIG: "too_large",
    errno.ETXTBSY: "busy",
    errno.EBUSY: "busy",
    errno.EAGAIN: "limit",
    errno.ENOMEM: "limit",
    errno.EMFILE: "limit",
    errno.ENFILE: "limit",
    errno.ENOSPC: "limit",
    errno.EDQUOT: "limit",
    errno.ENXIO: "unsupported",
    errno.ENODEV: "unsupported",
}


class Refusal(Exception):
    """A method's answer instead of a result: `reason` is one of the documented reasons, `data` adds facts."""

    def __init__(self, reason: str, message: str, **data: Any) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message[:MESSAGE_LIMIT]
        self.data: dict[str, Any] = {"reason": reason, **data}


def from_os_error(error: OSError, subject: str = "") -> Refusal:
    """The refusal for a failed system call; `subject` names what it was done to."""
    reason = _BY_ERRNO.get(error.errno or 0, "internal")
    text = error.strerror or "system error"
    return Refusal(reason, f"{subject}: {text}" if subject else text, errno=error.errno)


class Params:
    """Checked reading of a request's parameters: a wrong type or an unknown name is `invalid`, never a crash."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self._seen: set[str] = set()

    def _take(self, name: str) -> Any:
        self._seen.add(name)
        return self._values.get(name)

    def text(self, name: str, default: str | None = None, limit: int = 4096) -> str:
        value = self._take(name)
        if value is None and default is not None:
            return default
        if type(value) is not str or len(value) > limit or "\0" in value:
            raise Refusal("invalid", f"{name} must be a string of at most {limit} characters without NUL")
        return value

    def whole(self, name: str, default: int | None = None, low: int = 0, high: int = 1 << 62) -> int:
        value = self._take(name)
        if value is None and default is not None:
            return default
        if type(value) is not int or not low <= value <= high:
            raise Refusal("invalid", f"{name} must be a whole number from {low} to {high}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._take(name)
        if value is None:
            return default
        if type(value) is not bool:
            raise Refusal("invalid", f"{name} must be true or false")
        return value

    def raw(self, name: str) -> Any:
        return self._take(name)

    def done(self) -> None:
        """Refuse parameters nobody asked for."""
        unknown = self._values.keys() - self._seen
        if unknown:
            raise Refusal("invalid", f"unknown parameters: {', '.join(sorted(unknown))}")
