"""`bulkhead audit`, as an auditor uses it."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bulkhead = Callable[..., Any]


@pytest.fixture
def three_events(bulkhead: Bulkhead, data_dir: Path) -> Path:
    for name in ("one", "two", "three"):
        assert bulkhead("keys", "create", name, "--subject", "alice").code == 0
    return data_dir / "bulkhead.db"


def tamper(database: Path, statement: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(statement)
    connection.close()


def test_the_list_can_be_narrowed(bulkhead: Bulkhead, three_events: Path) -> None:
    def seqs(*options: str) -> list[int]:
        return [event["seq"] for event in bulkhead("audit", "list", "--json", *options).json()]

    assert seqs() == [1, 2, 3]
    assert seqs("--limit", "2") == [2, 3]
    assert seqs("--kind", "key.*") == [1, 2, 3]
    assert seqs("--kind", "key.revoked") == []
    assert seqs("--principal", "alice") == [1, 2, 3]
    assert seqs("--session", "s-1") == []
    assert seqs("--since", "2999") == []


def test_the_table_shows_kind_and_principal(bulkhead: Bulkhead, three_events: Path) -> None:
    out = bulkhead("audit", "list").out
    assert out.count("key.created") == 3
    assert "alice" in out


def test_an_event_is_shown_whole(bulkhead: Bulkhead, three_events: Path) -> None:
    (event,) = bulkhead("audit", "show", "2", "--json").json()
    assert (event["seq"], event["body"]["name"]) == (2, "two")
    assert '"name": "two"' in bulkhead("audit", "show", "2").out
    missing = bulkhead("audit", "show", "9")
    assert (missing.code, "there is no event 9" in missing.err) == (1, True)


def test_text_from_the_log_cannot_steer_the_terminal(bulkhead: Bulkhead, three_events: Path) -> None:
    tamper(three_events, "UPDATE audit_events SET body = '{\"a\":\"' || char(155) || '2J[red]\"}' WHERE seq = 2")
    shown = bulkhead("audit", "show", "2").out
    assert "\x9b" not in shown
    assert "[red]" in bulkhead("audit", "list", "--limit", "2").out


def test_a_whole_log_verifies(bulkhead: Bulkhead, three_events: Path) -> None:
    ran = bulkhead("audit", "verify")
    assert (ran.code, ran.out.startswith("whole: 3 events")) == (0, True)
    report = bulkhead("audit", "verify", "--json").json()
    assert (report["ok"], report["events"], report["head"]["seq"]) == (True, 3, 3)


def test_a_broken_log_is_named_and_exits_1(bulkhead: Bulkhead, three_events: Path) -> None:
    tamper(three_events, "DELETE FROM audit_events WHERE seq = 2")
    ran = bulkhead("audit", "verify")
    assert ran.code == 1
    assert "event 2: removed" in ran.out
    assert "BROKEN" in ran.out
    report = bulkhead("audit", "verify", "--json")
    assert (report.code, report.json()["problems"][0]["problem"]) == (1, "removed")


def test_an_export_verifies_on_another_machine(
    bulkhead: Bulkhead, three_events: Path, data_dir: Path, tmp_path: Path
) -> None:
    export = tmp_path / "audit.jsonl"
    assert bulkhead("audit", "export", "--output", str(export)).code == 0
    assert bulkhead("audit", "export", "--format", "jsonl").out == export.read_text()
    assert bulkhead("audit", "export", "--output", str(export)).code == 1
    key = tmp_path / "kept.key"
    shutil.copy(data_dir / "audit.key", key)
    shutil.rmtree(data_dir)
    assert bulkhead("audit", "verify", str(export), "--key", str(key)).code == 0
    unsealed = bulkhead("audit", "verify", str(export))
    assert (unsealed.code, "seal of the head was not checked" in unsealed.out) == (0, True)
    export.write_text(export.read_text().replace("alice", "mallory"))
    assert bulkhead("audit", "verify", str(export), "--key", str(key)).code == 1


def test_a_log_is_compared_with_an_older_export(bulkhead: Bulkhead, three_events: Path, tmp_path: Path) -> None:
    export = tmp_path / "audit.jsonl"
    bulkhead("audit", "export", "--output", str(export))
    bulkhead("keys", "create", "four", "--subject", "alice")
    assert bulkhead("audit", "verify", "--anchor", str(export)).code == 0
    head = json.loads(export.read_text().splitlines()[-1])
    head["head"]["hash"] = "0" * 64
    export.write_text(json.dumps(head, sort_keys=True, separators=(",", ":")) + "\n")
    assert bulkhead("audit", "verify", "--anchor", str(export)).code == 1
    export.write_text("nothing\n")
    assert bulkhead("audit", "verify", "--anchor", str(export)).code == 2


def test_reading_makes_no_database(bulkhead: Bulkhead, data_dir: Path) -> None:
    for command in ("list", "verify", "export"):
        ran = bulkhead("audit", command)
        assert (ran.code, "there is no database" in ran.err) == (1, True)
    assert not data_dir.exists()


def test_a_log_on_read_only_media_can_be_read(bulkhead: Bulkhead, three_events: Path) -> None:
    three_events.chmod(0o400)
    assert bulkhead("audit", "verify").code == 0
