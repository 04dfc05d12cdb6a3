"""The URLs of one upstream of the Messages API, from whichever of them somebody wrote down.

Pure functions over text; no HTTP.
"""

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit, urlunsplit

__all__ = ["Endpoints", "with_query"]

_TAILS = ("/count_tokens", "/messages", "/models", "/v1")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The three URLs of one upstream."""

    messages: str
    count_tokens: str
    models: str

    @classmethod
    def of(cls, url: str) -> "Endpoints":
        """From a base URL (`https://host`, `https://host/anthropic`), with or without `/v1` or `/v1/messages`
        at its end. A query string stays on each; a fragment does not. Raises `ValueError`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http(s) URL: {url}")
        path = parts.path.rstrip("/")
        for tail in _TAILS:
            path = path.removesuffix(tail)

        def at(tail: str) -> str:
            return urlunsplit((parts.scheme, parts.netloc, f"{path}/v1/{tail}", parts.query, ""))

        return cls(at("messages"), at("messages/count_tokens"), at("models"))


def with_query(url: str, **parameters: str) -> str:
    """The URL with these parameters after those it has."""
    parts = urlsplit(url)
    query = "&".join(part for part in (parts.query, urlencode(parameters)) if part)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
