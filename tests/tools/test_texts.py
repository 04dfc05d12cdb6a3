"""Trimming, cutting and numbers in result texts, as measured on the real client."""

from __future__ import annotations

import pytest

from gateway.tools.captured import HEAD_BYTES, Captured
from gateway.tools.shell import status_one_is_an_answer
from gateway.tools.texts import FAILURE_CHARS, duration, middle_cut, persisted, trimmed


@pytest.mark.parametrize(
    ("output", "given"),
    [
        ("\n\n  a  \n\n\nb  \n\n\n", "  a  \n\n\nb"),
        ("   \n\t\n  x\n \n", "  x"),
        ("", ""),
        (" \n \n", ""),
        ("a\r\nb\r\n", "a\r\nb"),
    ],
)
def test_successful_output_is_trimmed_as_the_client_does(output: str, given: str) -> None:
    assert trimmed(output) == given


def test_the_middle_of_a_long_failure_is_cut_and_counted() -> None:
    text = middle_cut("a" * 20_000 + "b" * 20_000)
    assert text.startswith("a" * (FAILURE_CHARS // 2) + "\n\n... [30000 characters truncated] ...\n\n")
    assert text.endswith("b" * (FAILURE_CHARS // 2))
    assert middle_cut("x" * FAILURE_CHARS) == "x" * FAILURE_CHARS


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(500, "0s"), (1500, "1s"), (61_000, "1m 1s"), (120_000, "2m 0s"), (3_600_000, "1h 0m 0s")],
)
def test_durations_round_down(milliseconds: float, text: str) -> None:
    assert duration(milliseconds) == text


def test_a_persisted_output_says_where_it_lies_and_shows_its_start() -> None:
    output = "".join(f"line {number}\n" for number in range(5000))
    text = persisted(output, len(output), "/tmp/x.txt")
    assert text.startswith(
        f"<persisted-output>\nOutput too large ({len(output) / 1024:.1f}KB). Full output saved to: /tmp/x.txt"
    )
    assert text.endswith("\n...\n</persisted-output>")
    assert len(text) < 2300


def test_output_is_kept_within_bounds_and_its_end_is_not_lost() -> None:
    shown: list[str] = []
    captured = Captured(limit=HEAD_BYTES * 3)
    chunk = b"x" * (1024 * 1024)
    for _ in range(12):
        assert captured.take(chunk, shown.append)
    assert captured.take(b"the end", shown.append)
    kept = captured.kept()
    assert len(kept) < HEAD_BYTES + 128 * 1024
    assert kept.endswith(b"the end")
    assert b"bytes were not kept" in kept
    assert captured.total == 12 * len(chunk) + 7


def test_the_limit_is_reported_once_it_is_passed() -> None:
    captured = Captured(limit=10)
    assert captured.take(b"0123456789", lambda _: None)
    assert not captured.take(b"x", lambda _: None)


def test_characters_torn_between_chunks_are_shown_whole() -> None:
    shown: list[str] = []
    captured = Captured(limit=100)
    for byte in "é😀".encode():
        captured.take(bytes([byte]), shown.append)
    assert "".join(shown) == "é😀"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("grep x f", True),
        ("cat f | grep x", True),
        ("echo a; diff a b", True),
        ("cd x && [ -e y ]", True),
        ("grep x f && echo y", False),
        ("false", False),
        ("echo 'grep", False),
        ("echo grep", False),
    ],
)
def test_status_one_of_a_search_or_comparison_is_an_answer(command: str, answer: bool) -> None:
    assert status_one_is_an_answer(command) is answer
