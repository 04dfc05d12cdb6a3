"""Seals on gateway-run calls, so that the conversation can carry its own sandbox history.

A client echoes what it was sent. A call and its result are trusted on the way back only under a MAC that
this gateway made for the same subject; anything else is somebody's text. The seal needs no look-up, so it
survives resumed and forked conversations, gateway restarts and replicas that share the key.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec


class Sealer:
    """HMAC-SHA256 over subject, call id, tool name, input and result, as canonical JSON."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("a seal key has at least 32 bytes")
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> Sealer:
        """Read the key, or make one (mode 0600) the first time; safe when two processes start at once."""
        if not path.exists():
            draft = path.with_name(f"{path.name}.{os.getpid()}")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        return cls(path.read_bytes())

    def seal(self, subject: str, call_id: str, name: str, arguments: Any, result: Any) -> str:
        message = msgspec.json.encode([subject, call_id, name, arguments, result], order="deterministic")
        return hmac.new(self._key, message, sha256).hexdigest()

    def holds(self, seal: object, subject: str, call_id: str, name: str, arguments: Any, result: Any) -> bool:
        if not isinstance(seal, str) or not seal.isascii():
            return False
        return hmac.compare_digest(seal, self.seal(subject, call_id, name, arguments, result))
