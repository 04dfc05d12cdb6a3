"""The benchmarks' rows: declared once, documented, compared by honest arithmetic. Nothing here is timed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.command import DOCUMENT, all_rows, chosen, main
from benchmarks.engine import Missing
from benchmarks.rig import rig
from benchmarks.rows import Figure, Goal, Row, RowSpec, fraction, ratio, report
from benchmarks.sampling import interleaved

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_has_a_name_of_its_own() -> None:
    names = [spec.name for spec in all_rows()]
    assert len(names) == len(set(names))


def test_every_row_is_documented_in_the_generated_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text[text.index(tables.BEGIN) : text.index(tables.END)]
    shown = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert shown == [spec.name for spec in all_rows()]


def test_the_documented_rows_say_what_the_declarations_say() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for spec in all_rows():
        assert f"| `{spec.name}` | {spec.what} |" in text
        assert spec.baseline in text


def test_rows_with_a_goal_on_the_ratio_name_what_they_are_compared_with() -> None:
    for spec in all_rows():
        if spec.goal is not None and spec.goal.figure == "ratio":
            assert spec.baseline, spec.name


def test_the_command_lists_its_rows_without_an_engine() -> None:
    listed = subprocess.run(
        [ROOT / "benchmarks" / "run", "--list"],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "DOCKER_HOST": "unix:///nowhere/docker.sock"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [spec.name for spec in all_rows()]


def test_a_pattern_chooses_rows_by_shell_pattern_or_beginning() -> None:
    assert [spec.name for spec in chosen("*noop_ms")] == ["channel.noop_ms"]
    assert {spec.name for spec in chosen("audit")} == {
        spec.name for spec in all_rows() if spec.name.startswith("audit.")
    }


def test_a_second_pattern_leaves_rows_out() -> None:
    left = {spec.name for spec in chosen("gateway", "*litellm")}
    assert "gateway.rps.c16" in left
    assert not any("litellm" in name for name in left)


def test_a_pattern_that_no_row_matches_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "nothing.like.it"])
    assert ended.value.code == 2
    assert "--list" in capsys.readouterr().err


async def test_a_measurement_can_tell_which_rows_are_asked_for() -> None:
    async with rig(quick=True, engine_needed=False, say=print, rows=["a.row"]) as stand:
        assert stand.wants("a.row", "b.row")
        assert not stand.wants("b.row")


async def test_a_missing_engine_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(Missing, match=r"no container engine answers on .*docker\.sock.*make setup"):
        async with rig(quick=True, engine_needed=True, say=print):
            pass


def test_a_ratio_is_ours_over_theirs_by_medians() -> None:
    figure = Figure.compared([1.0, 2.0, 90.0], [8.0, 4.0, 0.1])
    assert (figure.value, figure.baseline_value, figure.ratio) == (2.0, 4.0, 0.5)


def test_what_is_added_is_the_median_of_the_paired_differences() -> None:
    figure = Figure.added([5.0, 7.0, 30.0], [4.0, 5.0, 20.0])
    assert (figure.value, figure.baseline_value, figure.ratio) == (2.0, 5.0, 1.4)


def test_unpaired_series_cannot_be_subtracted() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Figure.added([1.0, 2.0], [1.0])


def test_nothing_is_divided_by_a_baseline_that_was_not_measured() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        ratio(1.0, 0.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1 / 207, "1/207"), (1 / 4.25, "1/4.25"), (0.5, "0.5×"), (1.2345, "1.23×"), (12.0, "12×")],
)
def test_a_ratio_is_written_as_people_say_it(value: float, text: str) -> None:
    assert fraction(value) == text


@pytest.mark.parametrize(
    ("goal", "figure", "met"),
    [
        (Goal("ratio", 0.1), Figure(5.0, 50.0, 0.1), True),
        (Goal("ratio", 0.1), Figure(5.0, 40.0, 0.125), False),
        (Goal("ratio", 0.1), Figure(0.01), False),
        (Goal("value", 0.6), Figure(0.6), True),
        (Goal("value", 0.6), Figure(0.7, 70.0, 0.01), False),
        (Goal("ratio", 15, least=True), Figure(15.0, 1.0, 15.0), True),
        (Goal("ratio", 15, least=True), Figure(14.0, 1.0, 14.0), False),
        (None, Figure(1.0), None),
    ],
)
def test_a_goal_is_met_with_its_limit_included(goal: Goal | None, figure: Figure, met: bool | None) -> None:
    assert Row(RowSpec("a.row", "ms", "work", "other work", goal), figure).met is met


def test_a_figure_that_no_row_declares_is_an_error() -> None:
    with pytest.raises(KeyError, match="b"):
        report([RowSpec("a", "ms", "work")], {"a": Figure(1.0), "b": Figure(1.0)})


def test_a_row_as_json_carries_value_ratio_and_baseline() -> None:
    spec = RowSpec("a.row", "ms", "work", "other work", Goal("ratio", 0.5))
    row = Row(spec, Figure.compared([1.0], [3.0])).as_json()
    assert row["name"] == "a.row"
    assert (row["value"], row["unit"], row["ratio"]) == (1.0, "ms", 0.3333)
    assert (row["baseline"], row["baseline_value"], row["met"]) == ("other work", 3.0, True)


def test_a_goal_says_on_which_side_of_its_limit_it_lies() -> None:
    assert Goal("ratio", 15, least=True).text("1/s") == "≥ 15×"
    assert Goal("value", 1.0).text("ms") == "≤ 1 ms"


def test_what_is_added_is_written_with_its_sign() -> None:
    row = Row(RowSpec("a.row", "ms", "work", "other work", added=True), Figure.added([3.0], [2.0]))
    assert "**1.5×** (+1 ms)" in tables.markdown([row])


async def test_sides_are_taken_in_turn_and_the_first_round_is_dropped() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    async def ours() -> list[float]:
        return [side("ours")]

    async def theirs() -> list[float]:
        return [side("theirs")]

    samples = await interleaved(2, {"ours": ours, "theirs": theirs})
    assert order == ["ours", "theirs"] * 3
    assert samples == {"ours": [3.0, 5.0], "theirs": [4.0, 6.0]}


def test_the_table_between_the_markers_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    tables.rewrite(page, [Row(RowSpec("a.row", "ms", "work", "other work"), Figure.compared([1.0], [4.0]))])
    text = page.read_text()
    assert "| `a.row` | work | **1/4** (1 ms) | other work |  |" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(ValueError, match="markers"):
        tables.rewrite(page, [])
