"""The tables of docs/ that are made from the code: what `scripts/docs` writes and the tests compare.

A page says where with `<!-- table: NAME -->` ... `<!-- end -->`; whatever stands between is replaced.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from gateway.audit.events import CATALOGUE
from gateway.audit.verify import BREAKS
from gateway.providers.adapt.features import FEATURES
from gateway.settings import SECTIONS, Settings, variable_of

DOCS = Path(__file__).resolve().parents[1] / "docs"

_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings_table() -> str:
    """Every setting: variable, default, unit, meaning; a heading for each section."""
    lines: list[str] = []
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            lines += ["", f"### {SECTIONS[name]}", "", "| variable | default | unit | meaning |", "|---|---|---|---|"]
        extra = field.json_schema_extra
        facts: dict[str, Any] = extra if isinstance(extra, dict) else {}
        default = facts["shown"] or _spelled(field.default)
        lines.append(f"| `{variable_of(name)}` | {default} | {facts['unit']} | {field.description}{_choices(name)} |")
    return "\n".join(lines[1:])


def events_table() -> str:
    """Every kind of audit event with its body's fields."""
    lines = []
    for kind in CATALOGUE.values():
        answers = f" of {', '.join(f'`{of}`' for of in kind.of)}" if kind.of else ""
        lines += [f"#### `{kind.kind}` ({kind.role}{answers})", "", kind.when, "", "| field | content |", "|---|---|"]
        lines += [f"| `{field}` | {content} |" for field, content in kind.fields.items()]
        lines.append("")
    return "\n".join(lines[:-1])


def breaks_table() -> str:
    """What verification can find."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in BREAKS.items()]
    return "\n".join(["| problem | meaning |", "|---|---|", *rows])


def features_table() -> str:
    """What an upstream of the Messages API may lack, by the names that the upstreams file uses."""
    rows = [f"| `{name}` | {feature.what} |" for name, feature in sorted(FEATURES.items())]
    return "\n".join(["| name | feature |", "|---|---|", *rows])


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "events": events_table,
    "breaks": breaks_table,
    "features": features_table,
}


def renewed(text: str) -> str:
    """The page with its tables made anew. Raises `KeyError` for a table that nobody makes."""
    return _TABLE.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}\n{match[3]}", text)


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    old = []
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text()
        if renewed(text) != text:
            old.append(page.relative_to(DOCS.parent))
            if not check:
                page.write_text(renewed(text))
    for page in old:
        print(f"{page}: {'run scripts/docs' if check else 'written'}")
    return int(check and bool(old))


def _spelled(default: Any) -> str:
    if default is None or default == () or default is PydanticUndefined:
        return ""
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    if isinstance(default, int) and default % (1024 * 1024) == 0 and default:
        return f"{default // (1024 * 1024)} MiB"
    return f"{default:g}" if isinstance(default, float) else f"`{default}`"


def _choices(name: str) -> str:
    schema = Settings.model_json_schema()["properties"][name]
    choices = schema.get("enum")
    return f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
