"""`bulkhead usage`, as an operator uses it.

Called by its function: the table of commands is another test's business.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.common import WrongUsage
from gateway.cli.usage import usage
from gateway.store.engine import close_store, open_store
from gateway.store.keys import Keys
from gateway.store.usage import UsageRecords, UsageRow

Run = Callable[..., str]


def day(ago: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}"


@pytest.fixture
def run(data_dir: Path) -> Run:
    """The command's output; its exit code must be as expected."""
    data_dir.mkdir()
    engine = open_store(f"sqlite:///{data_dir / 'bulkhead.db'}")
    key, _ = Keys(engine).create("laptop", "alice")
    UsageRecords(engine).add(
        [
            UsageRow(key.id, day(1), "claude-opus-4-8", "alice", 3, 1000, 200, 5000, 40, 0, 12_345_678),
            UsageRow(key.id, day(50), "claude-opus-4-8", "alice", 1, 1, 1, 0, 0, 0, 1_000_000_000),
            UsageRow("k2", day(1), "=cmd|x", "bob", 1, 7, 0, 0, 0, 7, 0),
        ]
    )
    close_store(engine)
    app = typer.Typer()
    app.command()(usage)

    def call(*arguments: str, failing: type[Exception] | None = None) -> str:
        result = CliRunner().invoke(app, list(arguments))
        if failing is None:
            assert result.exit_code == 0, result.output
            return result.output
        assert type(result.exception) is failing, result
        return str(result.exception)

    return call


def test_the_table_shows_keys_by_name_with_totals(run: Run) -> None:
    shown = run()
    for part in ("laptop", "alice", "bob", "5,000", "0.0123", "1,007", "total"):
        assert part in shown, part
    assert "without a price" in shown


def test_the_window_and_the_subject_can_be_chosen(run: Run) -> None:
    assert json.loads(run("--since", "60d", "--json"))["total"]["requests"] == 5
    assert json.loads(run("--since", "60d", "--until", "40d", "--json"))["total"]["requests"] == 1
    assert json.loads(run("--since", day(1), "--until", day(1), "--json"))["total"]["requests"] == 4
    assert json.loads(run("--subject", "bob", "--json"))["total"]["requests"] == 1
    assert json.loads(run("--subject", "nobody", "--json"))["data"] == []
    assert run("--subject", "nobody").startswith("Nothing was used from ")


def test_rows_can_be_models_or_days(run: Run) -> None:
    models = json.loads(run("--by", "model", "--json"))["data"]
    assert [(row["model"], row["cost_usd"]) for row in models] == [("claude-opus-4-8", 0.012345678), ("=cmd|x", 0)]
    assert [row["day"] for row in json.loads(run("--by", "day", "--since", "60d", "--json"))["data"]] == [
        day(50),
        day(1),
    ]


def test_csv_has_one_line_a_row_and_no_formulas(run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(run("--by", "model", "--csv"))))
    assert [row["model"] for row in rows] == ["claude-opus-4-8", "'=cmd|x"]
    assert rows[0]["cache_read_tokens"] == "5000" and rows[0]["cost_usd"] == "0.012345678"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--since", "soon"), "'soon' is neither"),
        (("--since", "1d", "--until", "3d"), "is after --until"),
        (("--since", "999999999w"), "too far away"),
        (("--json", "--csv"), "choose one"),
    ],
)
def test_a_question_that_makes_no_sense_is_told_in_words(run: Run, arguments: tuple[str, ...], said: str) -> None:
    assert said in run(*arguments, failing=WrongUsage)


def test_today_is_included(run: Run) -> None:
    report = json.loads(run("--since", "0d", "--json"))
    assert report["to"] == datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%d")
