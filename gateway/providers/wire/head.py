"""The head of a request as bytes. Refuses what would let a value become a line of its own."""

from collections.abc import Mapping
from functools import lru_cache

from gateway.providers.wire.errors import WireError
from gateway.providers.wire.target import Target

__all__ = ["request_head"]

_TOKEN_MARKS = frozenset("!#$%&'*+-.^_`|~")
_OURS = frozenset({"connection", "content-length", "host", "transfer-encoding"})
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE"})
_LINES = 2
"""Lines that are always there: the request line and the host."""


def request_head(
    method: str, target: Target, headers: Mapping[str, str], length: int, *, proxy_headers: Mapping[str, str] | None
) -> bytes:
    """The request line and headers, with the empty line. `length` is the body's, in bytes.

    `proxy_headers` None asks the origin itself; else the request line names the whole URL, as a proxy needs
    it, and these headers are added. Names the client must not set itself (`host`, the body's framing) and
    anything with CR, LF, NUL or a character beyond Latin-1 raise `WireError`.
    """
    if not method.isalpha() or not method.isascii():
        raise WireError("not an HTTP method")
    where = target.path if proxy_headers is None else f"http://{target.authority}{target.path}"
    text = f"{method} {where} HTTP/1.1\r\nhost: {target.authority}\r\n"
    lines = _LINES
    for name, value in headers.items():
        text += f"{_field(name)}{value}\r\n"
        lines += 1
    if proxy_headers:
        for name, value in proxy_headers.items():
            text += f"{name}: {value}\r\n"
            lines += 1
    if length or method not in _WITHOUT_BODY:
        text += f"content-length: {length}\r\n"
        lines += 1
    try:
        head = (text + "\r\n").encode("latin-1")
    except UnicodeEncodeError:
        raise WireError("a request header holds a character that HTTP cannot carry") from None
    # Counting is two scans in C for the whole head; a value that smuggles a line in changes the count.
    if head.count(b"\n") != lines + 1 or head.count(b"\r") != lines + 1 or b"\0" in head:
        raise WireError("a request header holds a line break or a NUL")
    return head


@lru_cache(maxsize=512)
def _field(name: str) -> str:
    if not name or not all(c.isascii() and (c.isalnum() or c in _TOKEN_MARKS) for c in name):
        raise WireError("a request header's name is not a token")
    if name.lower() in _OURS:
        raise WireError(f"the request header {name.lower()} is not the caller's to set")
    return f"{name}: "
