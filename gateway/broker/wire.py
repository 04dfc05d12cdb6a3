"""The requests the broker understands and the answers it gives: one JSON line each way per connection.

Strict on purpose: an unknown verb, an unknown field or a value out of shape refuses the request. It must
not know the engine.
"""

from typing import Annotated, Any, Final

import msgspec

from gateway.broker.errors import Refused

__all__ = [
    "ACKNOWLEDGED",
    "MAX_ANSWER",
    "MAX_REQUEST",
    "Attach",
    "Close",
    "Hello",
    "Images",
    "Inspect",
    "List",
    "Open",
    "Reap",
    "Request",
    "Workspace",
    "decode_request",
    "encode_answer",
    "encode_request",
]

MAX_REQUEST: Final = 64 * 1024
"""Bytes of one request line, newline included."""

MAX_ANSWER: Final = 1024 * 1024
"""Bytes of one answer line, newline included."""

ACKNOWLEDGED: Final = b"ok\n"
"""What the caller of `open` writes once it holds the stream; without it the sandbox is removed again."""

SessionId = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9-]{1,64}\Z")]
ProfileName = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9-]{1,32}\Z")]
SandboxName = Annotated[str, msgspec.Meta(pattern=r"\Abulkhead-[a-z0-9-]{1,64}-[0-9a-f]{12}\Z")]
HostPath = Annotated[str, msgspec.Meta(pattern=r"\A/[^\x00]*\Z", max_length=4096)]
Mode = Annotated[str, msgspec.Meta(pattern=r"\A(bind|copy|scratch)\Z")]


class Workspace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the files come from and where they are seen."""

    mode: Mode
    source: HostPath | None = None
    """Host directory; none for scratch."""
    mount: HostPath | None = None
    """Path inside; none for the source's own path (bind, copy) or /workspace (scratch)."""


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb", tag="hello"):
    """Who are you, which engine, which profiles."""


class Open(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb", tag="open"):
    """Create, attach and start one sandbox; the answer carries the attached stream's descriptor."""

    session: SessionId
    workspace: Workspace
    profile: ProfileName = "default"


class Attach(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb", tag="attach"):
    """A new attached stream to a running sandbox."""

    sandbox: SandboxName


class Inspect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb", tag="inspect"):
    """State of one sandbox."""

    sandbox: SandboxName


class Close(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb", tag="close"):
    """Kill and remove one sandbox and its volumes; done twice is done once."""

    sandbox: SandboxName


class List(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb", tag="list"):
    """Every container of this gateway."""


class Reap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb", tag="reap"):
    """Remove every container and volume of this gateway whose session is not kept."""

    keep: Annotated[list[SessionId], msgspec.Meta(max_length=1000)]


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb", tag="images"):
    """The image of each profile, and whether the engine has it."""


Request = Hello | Open | Attach | Inspect | Close | List | Reap | Images

_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


def decode_request(line: bytes) -> Request:
    """One request out of one line. Raises `Refused` with the part that does not fit."""
    if len(line) > MAX_REQUEST:
        raise Refused("too_large", f"a request is at most {MAX_REQUEST} bytes")
    try:
        return _requests.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("bad_request", str(error)[:500]) from error


def encode_request(request: Request) -> bytes:
    return msgspec.json.encode(request) + b"\n"


def encode_answer(answer: dict[str, Any]) -> bytes:
    return msgspec.json.encode(answer) + b"\n"
