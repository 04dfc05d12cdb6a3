"""`bulkhead keys`, as an operator uses it."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.store.engine import close_store, open_store
from gateway.store.keys import Keys

Bulkhead = Callable[..., Any]


def refusal(data_dir: Path, secret: str) -> str | None:
    engine = open_store(f"sqlite:///{data_dir / 'bulkhead.db'}")
    verdict = Keys(engine).verify(secret)
    close_store(engine)
    return verdict.refusal


def test_a_made_key_works_and_its_secret_is_all_that_stdout_holds(bulkhead: Bulkhead, data_dir: Path) -> None:
    made = bulkhead("keys", "create", "laptop", "--subject", "alice")
    assert made.code == 0
    assert refusal(data_dir, made.out.strip()) is None
    assert "laptop" in made.err


def test_making_a_key_is_in_the_audit_log_without_its_secret(bulkhead: Bulkhead) -> None:
    made = bulkhead("keys", "create", "laptop", "--subject", "alice", "--json").json()
    (event,) = bulkhead("audit", "list", "--json").json()
    assert (event["kind"], event["principal"]) == ("key.created", "alice")
    assert event["body"]["key_id"] == made["id"]
    assert made["secret"] not in str(event)


def test_a_key_can_be_narrowed_and_can_end(bulkhead: Bulkhead, tmp_path: Path) -> None:
    place = tmp_path / "code" / "one"
    made = bulkhead(
        "keys", "create", "ci", "--subject", "ci", "--workspace", str(place), "--mode", "copy", "--expires", "30d",
        "--json",
    ).json()  # fmt: skip
    assert (made["workspace"], made["workspace_mode"]) == (str(place), "copy")
    assert made["expires_at"] == pytest.approx(time.time() + 30 * 86400, abs=3600)


def test_the_list_shows_every_key_and_no_secret(bulkhead: Bulkhead) -> None:
    first = bulkhead("keys", "create", "laptop", "--subject", "alice", "--json").json()
    second = bulkhead("keys", "create", "ci", "--subject", "ci", "--json").json()
    bulkhead("keys", "revoke", second["id"])
    listed = bulkhead("keys", "list", "--json")
    assert [(key["id"], key["state"]) for key in listed.json()] == [(first["id"], "good"), (second["id"], "revoked")]
    table = bulkhead("keys", "list").out
    assert first["id"] in table
    for secret in (first["secret"], second["secret"]):
        assert secret not in listed.out + table


def test_a_revoked_key_is_refused_and_the_end_is_in_the_audit_log(bulkhead: Bulkhead, data_dir: Path) -> None:
    made = bulkhead("keys", "create", "laptop", "--subject", "alice", "--json").json()
    assert bulkhead("keys", "revoke", made["id"]).code == 0
    assert refusal(data_dir, made["secret"]) == "revoked"
    assert [event["kind"] for event in bulkhead("audit", "list", "--json").json()] == ["key.created", "key.revoked"]


def test_no_key_is_made_when_the_audit_log_cannot_be_written(bulkhead: Bulkhead, data_dir: Path) -> None:
    bulkhead("keys", "create", "laptop", "--subject", "alice")
    with sqlite3.connect(data_dir / "bulkhead.db") as connection:
        connection.execute("UPDATE audit_head SET mac = 'x'")
    connection.close()
    failed = bulkhead("keys", "create", "other", "--subject", "alice")
    assert failed.code == 1
    assert "bulkhead audit verify" in failed.err
    assert len(bulkhead("keys", "list", "--json").json()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("create",), 2, "name"),
        (("create", "two words", "--subject", "a"), 2, "name 'two words' must be"),
        (("create", "a", "--subject", "a", "--expires", "soon"), 2, "'soon' is neither"),
        (("create", "a", "--subject", "a", "--expires", "2001-01-01"), 2, "in the past"),
        (("create", "a", "--subject", "a", "--workspace", "/etc"), 2, "not below WORKSPACE_ROOT"),
        (("create", "a", "--subject", "a", "--mode", "clone"), 2, "clone"),
        (("revoke", "nobody"), 1, "there is no key 'nobody'"),
        (("list",), 1, "there is no database"),
        (("burn",), 2, "burn"),
    ],
)
def test_a_mistake_is_told_in_words_and_by_the_exit_code(
    bulkhead: Bulkhead, arguments: tuple[str, ...], code: int, said: str
) -> None:
    failed = bulkhead("keys", *arguments)
    assert failed.code == code
    assert said in failed.err
    assert "Traceback" not in failed.err
