"""The only requests there are, and every kind of request that is refused."""

import json
from typing import Any

import pytest

from gateway.broker import wire
from gateway.broker.errors import Refused

OPEN: dict[str, Any] = {"verb": "open", "session": "s-1", "workspace": {"mode": "scratch"}}
NAME = "bulkhead-s-1-0123456789ab"


@pytest.mark.parametrize(
    "request_",
    [
        wire.Hello(),
        wire.Open(session="s-1", workspace=wire.Workspace(mode="bind", source="/srv/x", mount="/work")),
        wire.Attach(sandbox=NAME),
        wire.Inspect(sandbox=NAME),
        wire.Close(sandbox=NAME),
        wire.List(),
        wire.Reap(keep=["s-1"]),
        wire.Images(),
    ],
    ids=lambda request: type(request).__name__,
)
def test_every_verb_survives_the_wire(request_: wire.Request) -> None:
    assert wire.decode_request(wire.encode_request(request_).rstrip(b"\n")) == request_


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b"[" * 60000,
        b'{"verb": "exec", "sandbox": "x"}',
        b'{"verb": "create", "Image": "x"}',
        b'{"verb": ["open"]}',
        json.dumps({**OPEN, "image": "other"}).encode(),
        json.dumps({**OPEN, "privileged": True}).encode(),
        json.dumps({**OPEN, "mounts": [{"source": "/", "target": "/host"}]}).encode(),
        json.dumps({**OPEN, "user": 0}).encode(),
        json.dumps({**OPEN, "workspace": {"mode": "bind", "source": "/x", "readonly": False}}).encode(),
        json.dumps({**OPEN, "workspace": {"mode": "overlay"}}).encode(),
        json.dumps({**OPEN, "workspace": {"mode": "bind", "source": "relative"}}).encode(),
        json.dumps({**OPEN, "workspace": {"mode": "bind", "source": "/a\0b"}}).encode(),
        json.dumps({**OPEN, "workspace": {"mode": "bind", "source": "/" + "x" * 5000}}).encode(),
        json.dumps({**OPEN, "workspace": None}).encode(),
        json.dumps({**OPEN, "session": "x" * 65}).encode(),
        json.dumps({**OPEN, "session": ""}).encode(),
        json.dumps({**OPEN, "session": "S_1"}).encode(),
        json.dumps({**OPEN, "session": "../x"}).encode(),
        json.dumps({**OPEN, "session": "s\n"}).encode(),
        json.dumps({**OPEN, "profile": "../default"}).encode(),
        json.dumps({"verb": "attach", "sandbox": "some-other-container"}).encode(),
        json.dumps({"verb": "close", "sandbox": NAME + "\n"}).encode(),
        json.dumps({"verb": "close", "sandbox": NAME + "/../x"}).encode(),
        json.dumps({"verb": "reap", "keep": "s-1"}).encode(),
        json.dumps({"verb": "reap"}).encode(),
        json.dumps({"verb": "reap", "keep": ["s"] * 1001}).encode(),
        json.dumps({"verb": "list", "all": True}).encode(),
    ],
    ids=lambda line: line[:60].decode("ascii", "replace"),
)
def test_what_is_not_exactly_a_request_is_refused(line: bytes) -> None:
    with pytest.raises(Refused) as caught:
        wire.decode_request(line)
    assert caught.value.reason == "bad_request"


def test_a_request_has_a_largest_size() -> None:
    with pytest.raises(Refused) as caught:
        wire.decode_request(b" " * (wire.MAX_REQUEST + 1))
    assert caught.value.reason == "too_large"
