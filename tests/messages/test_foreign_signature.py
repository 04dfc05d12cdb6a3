"""The gateway's own signatures: what was made is read back, and nothing else is taken for one."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.messages import foreign_signature
from gateway.messages.foreign_signature import ForeignSignature

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = st.dictionaries(st.text(max_size=8).filter(lambda key: key not in {"u", "m"}), JSON, max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), PAYLOADS)
def test_what_was_made_is_read_back(upstream: str, model: str, payload: dict[str, object]) -> None:
    signature = foreign_signature.make(upstream, model, payload)
    assert signature.encode().startswith(foreign_signature.MARK)
    assert foreign_signature.read(signature) == ForeignSignature(upstream, model, payload)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text(max_size=60).map("bh1.".__add__) | JSON)
def test_any_other_value_is_none_or_a_signature_and_never_raises(value: object) -> None:
    answer = foreign_signature.read(value)
    assert answer is None or isinstance(answer, ForeignSignature)


def wrapped(value: object) -> str:
    return "bh1." + base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bh1.",
        "EqQBCkYIBxgCKkBl",
        "bh2." + wrapped({"u": "a", "m": "b"})[4:],
        wrapped(["u", "m"]),
        wrapped({"u": "a"}),
        wrapped({"u": 1, "m": "b"}),
        "bh1.!!!!",
        "bh1." + base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
def test_a_text_that_the_gateway_did_not_write_is_no_signature(text: str) -> None:
    assert foreign_signature.read(text) is None


def test_a_signature_over_the_limit_is_neither_made_nor_read() -> None:
    big = "x" * foreign_signature.MAX_LENGTH
    with pytest.raises(ValueError, match="over the limit"):
        foreign_signature.make("u", "m", {"r": big})
    assert foreign_signature.read(wrapped({"u": "a", "m": "b", "r": big})) is None


def test_a_payload_may_not_hide_the_origin() -> None:
    with pytest.raises(ValueError, match="'u' and 'm'"):
        foreign_signature.make("u", "m", {"u": "other"})


def test_a_signature_belongs_to_one_upstream_and_model() -> None:
    origin = ForeignSignature("vllm", "qwen3", {})
    assert origin.belongs_to("vllm", "qwen3")
    assert not origin.belongs_to("vllm", "qwen2")
    assert not origin.belongs_to("ollama", "qwen3")
