"""The URLs of one chat upstream, from whichever of them somebody wrote down.

Pure functions over text; no HTTP.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

__all__ = ["Endpoints"]

_CHAT = "/chat/completions"
_INVOCATIONS = "/invocations"
_MODEL = "{model}"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """`chat` may hold `{model}`. `models` None: the upstream has no list. `names_model`: the URL says which model
    is meant, so the body does not."""

    chat: str
    models: str | None
    names_model: bool

    @classmethod
    def of(cls, url: str, root: str) -> "Endpoints":
        """From a base URL (`https://host`, then `root` is put behind it; `https://host/v1`), from the whole
        `.../chat/completions`, or from one model's `.../invocations`. A query string stays. Raises `ValueError`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http(s) URL: {url}")
        path = parts.path.rstrip("/")

        def at(full: str) -> str:
            return urlunsplit((parts.scheme, parts.netloc, full, parts.query, ""))

        if path.endswith(_INVOCATIONS):
            return cls(at(path), None, True)
        base = path.removesuffix(_CHAT) if path.endswith(_CHAT) else path or root
        listed = None if _MODEL in base else at(f"{base}/models")
        return cls(at(base + _CHAT), listed, _MODEL in base)

    def chat_for(self, model: str) -> str:
        """The URL for one model."""
        return self.chat.replace(_MODEL, quote(model, safe=""))
