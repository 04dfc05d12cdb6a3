"""Every field of a scenario file is documented."""

from pathlib import Path

import msgspec
import pytest

from gateway.providers.scripted import scenario

DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "scenarios.md").read_text(encoding="utf-8")
TYPES: list[type[msgspec.Struct]] = [
    scenario.BlockScript,
    scenario.Conversation,
    scenario.Expect,
    scenario.Fault,
    scenario.Match,
    scenario.Pace,
    scenario.ResultExpect,
    scenario.Scenario,
    scenario.Turn,
]
FIELDS = sorted({field.name for kind in TYPES for field in msgspec.structs.fields(kind)})


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_is_named_in_the_document(field: str) -> None:
    assert f"`{field}`" in DOCUMENT


@pytest.mark.parametrize("lie", scenario.LIES)
def test_a_lie_is_named_in_the_document(lie: str) -> None:
    assert f"`{lie}`" in DOCUMENT
