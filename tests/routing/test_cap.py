"""max_tokens brought down to what a model gives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.messages.errors import InvalidRequest
from gateway.routing.cap import capped, model_in

MESSAGES = [{"role": "user", "content": "é"}]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": MESSAGES, **fields}, indent=1).encode()


@pytest.mark.parametrize("fields", [{}, {"max_tokens": 0}, {"max_tokens": 4096}, {"max_tokens": True}])
def test_what_fits_stays_byte_for_byte(fields: dict[str, Any]) -> None:
    encoded = body(**fields)
    assert capped(encoded, 4096) is encoded


@pytest.mark.parametrize(
    ("limit", "thinking", "left"),
    [
        (4096, {"type": "adaptive"}, {"type": "adaptive"}),
        (4096, {"type": "enabled", "budget_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}),
        (4096, {"type": "enabled", "budget_tokens": 31999}, {"type": "enabled", "budget_tokens": 2048}),
        (1500, {"type": "enabled", "budget_tokens": 31999}, None),
    ],
)
def test_a_thinking_budget_stays_below_the_cap(limit: int, thinking: dict[str, Any], left: Any) -> None:
    found = json.loads(capped(body(max_tokens=128_000, thinking=thinking), limit))
    assert (found["max_tokens"], found.get("thinking")) == (limit, left)
    assert found["messages"] == MESSAGES


@pytest.mark.parametrize("encoded", [b"", b"{", b"[]", b'{"model": 1}', b'{"messages": []}', b'{"model": "\xff"}'])
def test_a_body_without_a_model_is_the_clients_fault(encoded: bytes) -> None:
    with pytest.raises(InvalidRequest, match="model"):
        model_in(encoded)


def test_the_model_is_found_wherever_it_stands() -> None:
    assert model_in(b'{"messages": [{"model": "no"}], "x": {"model": 1}, "model": "yes"}') == "yes"
