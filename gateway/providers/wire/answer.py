"""What the bytes of one answer say: its head, its body, and where it ends. No I/O, no waiting.

Fails closed: an answer whose end could be argued about is an error, because what follows it on the connection
would be taken for the next answer.
"""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.providers.wire.errors import WireError

__all__ = ["HEAD_LIMIT", "Answer"]

HEAD_LIMIT = 64 * 1024
"""Bytes of a head, of trailers, of chunk extensions: of anything between two pieces of body."""
_PIECE_COST = 64
"""What a piece costs in memory beyond its bytes, so that many tiny chunks count for what they are."""

_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL = 200
_LAST = 599
_NO_BODY = frozenset({204, 304})
_TOO_LARGE = "the upstream's answer has too large a head"


class Answer:
    """One answer. `bodyless`: whatever its head says, no body follows (HEAD).

    `begun`: a byte has come. `has_head`: `status` and `headers` (lower-case names) are there. `unread`: what the
    waiting pieces weigh. `whole`: the body has ended properly. `clean`: its connection can serve again.
    """

    __slots__ = (
        "_bodyless",
        "_gap",
        "_head_bytes",
        "_parser",
        "_pieces",
        "_refusal",
        "_until_close",
        "begun",
        "clean",
        "has_head",
        "headers",
        "status",
        "unread",
        "whole",
    )

    def __init__(self, *, bodyless: bool) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.unread = 0
        self.begun = self.has_head = self.whole = self.clean = False
        self._bodyless = bodyless
        self._until_close = False
        self._pieces: list[bytes] = []
        self._gap = 0
        self._head_bytes = 0
        self._refusal = ""
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Takes what came next. Raises `WireError` for what is no answer; bytes after its end only spoil `clean`."""
        parser = self._parser
        if parser is None:
            return
        self.begun = True
        self._gap += len(data)
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.clean = False
            if not self.whole:
                raise WireError(self._refusal or f"the upstream's answer is not HTTP: {error}") from None
        if self._gap > HEAD_LIMIT and not self.whole:
            raise WireError(_TOO_LARGE)

    def end(self) -> None:
        """The connection was closed in order, which ends a body that has no other end."""
        if self._until_close and not self.whole:
            self._finish()

    def take(self) -> bytes:
        """All of the body that has come since the last time; b"" for nothing."""
        pieces = self._pieces
        if not pieces:
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.unread = 0
        return data

    def close(self) -> None:
        """Nothing more is wanted of it. Also undoes the cycle with the parser, so that memory goes at once."""
        self._parser = None

    # What the parser calls. It hides what its callbacks raise, so the reason waits in `_refusal`.

    def on_message_begin(self) -> None:
        if self.whole:
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_LIMIT:
            self._refuse(_TOO_LARGE)
        if self.has_head:
            return  # a trailer: nobody needs one
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").rstrip()
        before = self.headers.get(key)
        self.headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status < _FIRST_FINAL:
            self.headers = {}
            if status == _SWITCHING_PROTOCOLS:
                self._refuse("the upstream switched protocols unasked")
            return
        if status > _LAST:
            self._refuse(f"the upstream answered with {status}, which is no HTTP status")
        coding = self.headers.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            self._refuse("the upstream's answer has a transfer-encoding other than chunked")
        self.status = status
        self.has_head = True
        self.clean = parser.should_keep_alive()
        if self._bodyless:
            self._finish()
        else:
            self._until_close = coding is None and "content-length" not in self.headers and status not in _NO_BODY

    def on_body(self, body: bytes) -> None:
        if self.whole:
            self.clean = False  # after the answer to a HEAD
        elif self.has_head:  # and not of an interim answer
            self._gap = 0
            self.unread += len(body) + _PIECE_COST
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self.has_head and not self.whole:
            self._finish()

    def _finish(self) -> None:
        self.whole = True
        self._parser = None

    def _refuse(self, reason: str) -> None:
        self._refusal = reason
        raise _Refused


class _Refused(Exception):
    """Stops the parser."""
