"""What a person sees of a sandboxed call."""

from __future__ import annotations

from gateway.agent.display import LINE_CHARS, LINES, OutputView, header


def view(*pieces: str) -> str:
    one = OutputView()
    return "".join([*(one.feed(piece) for piece in pieces), one.finish()])


def test_the_header_is_one_line_and_names_the_sandbox() -> None:
    assert header("Bash", "make\n  test", "3f2a") == "Bash(make test) · sandbox 3f2a\n"
    assert len(header("Bash", "x" * 500, "3f2a").splitlines()[0]) < 160


def test_output_stands_in_a_fence_however_it_is_cut() -> None:
    assert view("one\ntw", "o\n") == "````\none\ntwo\n````\n"
    assert view("one\ntwo") == "````\none\ntwo\n````\n"


def test_a_call_without_output_shows_nothing() -> None:
    assert view() == ""
    assert view("\n", "  \n") == ""


def test_only_the_first_lines_are_shown_and_the_rest_is_counted() -> None:
    shown = view(*(f"{number}\n" for number in range(LINES + 30))).splitlines()
    assert shown[-2:] == ["… 30 more lines", "````"]
    assert len(shown) == LINES + 3


def test_a_long_line_is_cut() -> None:
    assert len(view("x" * 10_000).splitlines()[1]) == LINE_CHARS


def test_output_cannot_close_the_fence() -> None:
    assert view("````\nfree").count("````") == 2
