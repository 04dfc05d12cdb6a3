"""What the scripted upstream saw: requests, broken expectations, clients that left.

Kept in memory as short entries for `GET /scripted/log`, and whole, as JSON lines, in a file where one is named.
"""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from gateway.messages import jsonbytes
from gateway.messages.jsonbytes import Raw

__all__ = ["Record"]

_SECRET_HEADERS = frozenset({"x-api-key", "api-key", "authorization", "proxy-authorization", "cookie"})
_KEPT = 10_000


class Record:
    """The log of one server process. Secrets in headers are replaced by their length."""

    def __init__(self, path: Path | None = None) -> None:
        self._file: BinaryIO | None = path.open("ab", buffering=0) if path is not None else None
        self._entries: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._count = 0
        self.violations: list[dict[str, Any]] = []

    def request(self, path: str, headers: Mapping[str, str], body: bytes, **about: Any) -> dict[str, Any]:
        """Notes a request; `about` says where it stands in the script. Returns its entry, for `ended`."""
        self._count += 1
        entry: dict[str, Any] = {"kind": "request", "number": self._count, "path": path, **about}
        self._entries.append(entry)
        if self._file is not None:
            self._write({**entry, "headers": _without_secrets(headers), "body": _body(body)})
        return entry

    def violation(self, number: int, complaint: str) -> None:
        """Notes that a request was not what the script, or the API, demands."""
        entry = {"kind": "violation", "number": number, "complaint": complaint}
        self.violations.append(entry)
        self._write(entry)

    def ended(self, entry: dict[str, Any], *, complete: bool) -> None:
        """Notes how an answer ended: sent whole, or the connection was gone before."""
        entry["complete"] = complete
        self._write({"kind": "ended", "number": entry["number"], "complete": complete})

    def summary(self) -> dict[str, Any]:
        """The answer of `GET /scripted/log`."""
        return {"count": self._count, "requests": list(self._entries), "violations": self.violations}

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(jsonbytes.encode(entry) + b"\n")


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: f"<{len(value)} characters>" if name in _SECRET_HEADERS else value for name, value in headers.items()}


def _body(body: bytes) -> object:
    """The body as JSON when it is some, so that the file can be read with any JSON tool."""
    try:
        jsonbytes.decode_fields(body)
    except ValueError:
        return body.decode("utf-8", "replace")
    return Raw(body.replace(b"\n", b" ").replace(b"\r", b" "))
