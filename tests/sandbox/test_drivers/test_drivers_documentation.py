"""docs/sandbox.md says what the code says."""

import importlib.util
import typing
from pathlib import Path

import pytest

from gateway.broker import wire
from gateway.broker.sources import PROTECTED
from gateway.sandbox import reference

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs/sandbox.md").read_text()


@pytest.mark.parametrize(
    "part",
    [
        reference.limits_table(),
        reference.guarantees_table(),
        reference.paths_table(),
        *(reference.not_enforced_list(guarantees) for guarantees in reference.DRIVERS.values()),
    ],
)
def test_every_table_is_as_the_code_declares(part: str) -> None:
    assert part in TEXT, f"docs/sandbox.md should contain:\n{part}"


def test_every_guarantee_has_a_meaning() -> None:
    for guarantees in reference.DRIVERS.values():
        assert [name for name, _ in guarantees.rows()] == list(reference.MEANING)


def test_every_removed_system_call_is_explained() -> None:
    spec = importlib.util.spec_from_file_location("make_seccomp", ROOT / "sandbox-images/base/make_seccomp.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert reference.table(("removed", "why"), list(module.REMOVED.items())) in TEXT


def test_every_verb_and_protected_path_is_named() -> None:
    verbs = [kind.__struct_config__.tag for kind in typing.get_args(wire.Request)]
    assert len(verbs) == 8
    for verb in verbs:
        assert f"| `{verb}` |" in TEXT, verb
    for path in PROTECTED:
        assert f"`{path}`" in TEXT
