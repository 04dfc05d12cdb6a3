"""How far the gateway's own token estimate is off, by real vocabularies over texts that lie on this machine.

    .venv/bin/python -m benchmarks.token_estimate

Needs `npm`: the vendor's published tokenizer (its older vocabulary; newer ones are not published) and OpenAI's are
installed from the npm registry into a directory that is thrown away, with TypeScript for its translated messages.
Prints one line a corpus, as a Markdown table.
"""

from __future__ import annotations

import base64
import gettext
import hashlib
import itertools
import json
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from gateway.providers.estimate import estimate_text
from gateway.settings import Settings
from gateway.tools import inputs

__all__ = ["main"]

PACKAGES = ("@anthropic-ai/tokenizer@0.0.4", "gpt-tokenizer@3", "typescript@5")
CHUNK = 3000
"""Characters; the spread of errors is taken over such pieces."""

CORPUS = 120_000
"""Characters of one corpus at most."""

ROOT = Path(__file__).resolve().parent.parent
LOCALES = Path("/usr/share/locale")
LANGUAGES = {"Chinese": "zh_CN", "Japanese": "ja", "Korean": "ko", "Russian": "ru", "Greek": "el", "Arabic": "ar"}
LANGUAGES |= {"Hebrew": "he", "Hindi": "hi", "Thai": "th", "German": "de", "French": "fr"}

COUNT = """
import fs from 'fs';
import { getTokenizer } from '@anthropic-ai/tokenizer';
import { countTokens } from 'gpt-tokenizer/encoding/o200k_base';
const vendor = getTokenizer();
const texts = JSON.parse(fs.readFileSync(0, 'utf8'));
const counts = texts.map((text) => [
  vendor.encode(text.normalize('NFKC'), 'all').length,
  countTokens(text, { disallowedSpecial: new Set() }),
]);
console.log(JSON.stringify(counts));
"""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="bulkhead-tokens-") as made:
        prefix = Path(made)
        install = ["npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", made]
        try:
            subprocess.run([*install, *PACKAGES], check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"token_estimate: the tokenizers cannot be installed: {error}", file=sys.stderr)
            return 2
        (prefix / "count.mjs").write_text(COUNT)
        print("| text | characters | vendor's tokens | estimate | error | of pieces, 5 % to 95 % | against o200k |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for name, text in corpora(prefix / "node_modules"):
            pieces = [piece for at in range(0, len(text), CHUNK) if len(piece := text[at : at + CHUNK]) > CHUNK // 2]
            if pieces:
                print(_line(name, pieces, _counted(prefix, pieces)), flush=True)
    print(_speed(), file=sys.stderr)
    return 0


def corpora(packages: Path) -> Iterator[tuple[str, str]]:
    """Names and texts; those whose source is not on this machine are empty."""
    typescript = packages / "typescript" / "lib"
    standard = Path(sysconfig.get_paths()["stdlib"])
    yield "Python source", _files(sorted(standard.glob("*.py"))[::6])
    yield "JavaScript source", _files([*sorted(typescript.glob("*.d.ts")), typescript / "_tsc.js"])
    prose = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "SECURITY.md"]
    yield "English prose", _files([*prose, *sorted(Path("/usr/share/common-licenses").glob("*"))])
    yield "JSON tool schemas", _schemas()
    yield "JSON data", _files([*sorted(packages.rglob("package.json")), typescript / "typesMap.json"])
    yield "shell output", _shell()
    yield "hashes, base64, numbers", _noise()
    for language, code in LANGUAGES.items():
        yield language, _translated(typescript, code)
    yield "emoji", _emoji()


def _files(paths: Iterable[Path]) -> str:
    texts = (_readable(path) for path in paths)
    return _within(text[len(text) // 5 :][:12_000] for text in texts)


def _readable(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _within(texts: Iterable[str]) -> str:
    sizes = 0
    kept = []
    for text in texts:
        kept.append(text)
        sizes += len(text)
        if sizes > CORPUS:
            break
    return "\n".join(kept)[:CORPUS]


def _schemas() -> str:
    structs = [kind for kind in vars(inputs).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    schemas = [*map(msgspec.json.schema, structs), Settings.model_json_schema()]
    return "\n".join(json.dumps(schema, separators=(",", ":")) for schema in schemas)


def _shell() -> str:
    commands = (["ls", "-l", "/usr/bin"], ["ls", "-lR", str(ROOT / "gateway")], ["ps", "auxww"], ["df", "-h"])
    more = (["git", "-C", str(ROOT), "log", "--stat", "-30"], ["grep", "-rn", "def ", str(ROOT / "gateway" / "api")])
    return _within(_output(command)[:20_000] for command in (*commands, *more))


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return ""
    return done.stdout


def _noise() -> str:
    source = random.Random(1)
    hashes = "\n".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(150))
    encoded = base64.b64encode(source.randbytes(9000)).decode()
    numbers = " ".join(f"{source.random():.6f}" for _ in range(1200))
    return f"{hashes}\n{encoded}\n{numbers}"


def _translated(typescript: Path, code: str) -> str:
    messages = typescript / code.replace("_", "-").lower() / "diagnosticMessages.generated.json"
    of_typescript = json.loads(messages.read_text(encoding="utf-8-sig")).values() if messages.exists() else ()
    return _within([*_catalogues(code), "\n".join(of_typescript)])


def _catalogues(code: str) -> Iterator[str]:
    for path in itertools.islice(sorted((LOCALES / code / "LC_MESSAGES").glob("*.mo")), 12):
        with path.open("rb") as file:
            messages = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        yield "\n".join(text for text in messages.values() if isinstance(text, str))[:8000]


def _emoji() -> str:
    signs = [chr(code) for code in range(0x1F300, 0x1FA00) if unicodedata.name(chr(code), "")]
    return "".join(signs) + "\n" + "\n".join(f"{sign} {unicodedata.name(sign).lower()}" for sign in signs)


def _counted(prefix: Path, pieces: list[str]) -> list[list[int]]:
    done = subprocess.run(
        ["node", "count.mjs"], cwd=prefix, input=json.dumps(pieces), capture_output=True, text=True, check=True
    )
    counts: list[list[int]] = json.loads(done.stdout)
    return counts


def _line(name: str, pieces: list[str], counts: list[list[int]]) -> str:
    estimates = [estimate_text(piece) for piece in pieces]
    vendor, other = (sum(column) for column in zip(*counts, strict=True))
    errors = sorted(_error(mine, true[0]) for mine, true in zip(estimates, counts, strict=True))
    low, high = errors[len(errors) // 20], errors[-1 - len(errors) // 20]
    total = sum(estimates)
    cells = (name, f"{sum(map(len, pieces)):,}", f"{vendor:,}", f"{total:,}", f"**{_error(total, vendor):+.0%}**")
    return f"| {' | '.join(cells)} | {low:+.0%} to {high:+.0%} | {_error(total, other):+.0%} |"


def _error(estimate: int, true: int) -> float:
    return (estimate - true) / true


def _speed() -> str:
    text = _files(sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")))[:100_000]
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        estimate_text(text)
        taken.append(time.perf_counter() - began)
    return f"100 kB of source are estimated in {min(taken) * 1000:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
