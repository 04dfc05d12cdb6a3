"""Bodies: one spelling for each value, whatever the value is."""

import json
import math
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.body import MAX_BYTES, encode_body
from gateway.audit.chain import clean


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"b": 1, "a": [True, None, 1.5]}, '{"a":[true,null,1.5],"b":1}'),
        ({"a": "\u00e9\u2028\x00"}, '{"a":"\\u00e9\\u2028\\u0000"}'),
        ({"a": "\udcff"}, '{"a":"\\udcff"}'),
        ({"a": math.nan, "b": -math.inf}, '{"a":"nan","b":"-inf"}'),
        ({"a": Path("/srv")}, '{"a":"/srv"}'),
        ({1: "a", "b": {2}}, '{"1":"a","b":[2]}'),
        ({"a": 10**5000}, '{"a":"' + hex(10**5000) + '"}'),
    ],
)
def test_any_value_has_one_spelling(body: dict[Any, Any], text: str) -> None:
    assert encode_body(body) == text
    assert text.isascii()


def test_bytes_are_summed_up() -> None:
    stored = json.loads(encode_body({"a": b"\xff\x00data"}))["a"]
    assert (stored["bytes"], stored["sha256"]) == (6, sha256(b"\xff\x00data").hexdigest())


def test_long_strings_of_a_large_body_give_way_to_their_digests() -> None:
    text = "x" * 1_000_000
    stored = json.loads(encode_body({"input": {"content": text}, "tool": "Write"}))
    assert stored["tool"] == "Write"
    assert stored["input"]["content"]["sha256"] == sha256(text.encode()).hexdigest()
    assert stored["input"]["content"]["bytes"] == 1_000_000
    assert text.startswith(stored["input"]["content"]["head"])


def test_a_long_string_stays_where_the_body_has_room() -> None:
    body = {"a": "x" * 40_000}
    assert json.loads(encode_body(body)) == body


def test_the_longest_strings_give_way_first() -> None:
    stored = json.loads(encode_body({"long": "x" * 60_000, "short": "y" * 10_000}))
    assert isinstance(stored["long"], dict)
    assert stored["short"] == "y" * 10_000


@pytest.mark.parametrize(
    "body",
    [
        {"a": "\u2028" * 60_000},
        {"many": [str(number) * 10 for number in range(20_000)]},
        {"k" * 100_000: 1},
        {"a": "\udcff" * 70_000},
    ],
)
def test_no_body_is_larger_than_the_limit(body: dict[str, Any]) -> None:
    text = encode_body(body)
    assert len(text) <= MAX_BYTES
    json.loads(text)


def test_bottomless_nesting_is_cut() -> None:
    body: dict[str, Any] = {}
    body["again"] = body
    assert "nested too deeply" in encode_body(body)


@pytest.mark.parametrize(
    ("label", "stored"),
    [(None, None), ("alice", "alice"), ("a\nb\x1b", "a\\nb\\x1b"), ("\udcff", "\\udcff"), ("x" * 300, "x" * 256)],
)
def test_names_in_columns_are_printable(label: str | None, stored: str | None) -> None:
    assert clean(label) == stored
