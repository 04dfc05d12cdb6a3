"""Runs the suites one after the other and prints one table: what `make test` and `make check` are made of.

A suite is a static check or one directory of tests/. A suite that ran no test counts as failed, and so does a
run that leaves a container behind or a file in the checkout. It knows nothing of what is tested.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import docker
import requests
from docker.errors import DockerException

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SUITE_SECONDS = 420
"""A suite that takes longer is killed and counts as failed."""
LEFTOVER_SECONDS = 10
"""How long containers that are being removed may take to go."""
ORDER = ("setup", "messages", "providers", "store", "audit", "policy", "broker", "sandbox", "tools", "agent", "api")
"""These first and in this order, other directories of tests/ after them by name."""
NOT_QUICK = (
    *("api", "broker", "cli", "clients", "faults", "sandbox", "setup", "tools"),
    *("fuzz", "providers/wire", "upstreams"),
)
"""Left out of the quick gate: they start gateways, sandboxes, real clients or whole set-ups, or take long."""
FAST = ("tests", "-m", "not engine")


@dataclass(frozen=True)
class Outcome:
    """One line of the table."""

    suite: str
    passed: int
    failed: int
    skipped: int
    seconds: float

    @property
    def ok(self) -> bool:
        return self.failed == 0 and self.passed > 0


def static_checks() -> list[tuple[str, list[str]]]:
    """Names and commands of what needs no test run."""
    checks = [
        ("format", [str(BIN / "ruff"), "format", "--check", "--quiet", "."]),
        ("lint", [str(BIN / "ruff"), "check", "--quiet", "."]),
        ("types", [str(BIN / "mypy"), "gateway"]),
        ("imports", [str(BIN / "lint-imports")]),
    ]
    if (ROOT / "sandbox-images/toolhost/__main__.py").exists():
        checks.insert(3, ("types: toolhost", [str(BIN / "mypy"), "sandbox-images/toolhost"]))
    return checks


def suites(tests: Path) -> list[tuple[str, list[str]]]:
    """Name and pytest arguments of every suite, in running order: the files of tests/, then its directories."""
    ranks = {name: rank for rank, name in enumerate(ORDER)}
    directories = [path for path in tests.iterdir() if path.is_dir() and any(path.rglob("test_*.py"))]
    directories.sort(key=lambda path: (ranks.get(path.name, len(ranks)), path.name))
    files = sorted(str(path) for path in tests.glob("test_*.py"))
    found = [(f"tests/{path.name}", [str(path)]) for path in directories]
    return [("tests/*.py", files), *found] if files else found


def run_static(name: str, command: list[str]) -> Outcome:
    """A check that says nothing unless it fails."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        ok = _run(command, output) == 0
        output.seek(0)
        said = output.read().decode(errors="replace").strip()
    print(f"=== {name}: {'ok' if ok else 'failed'}" + ("" if ok else f"\n{said}"), flush=True)
    return Outcome(name, int(ok), int(not ok), 0, time.monotonic() - began)


def run_pytest(name: str, arguments: list[str]) -> Outcome:
    began = time.monotonic()
    print(f"=== {name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bulkhead-test-") as scratch:
        report = Path(scratch) / "report.xml"
        status = _run([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments])
        passed, failed, skipped = read_report(report)
    if status not in (0, 1) or (status == 1 and failed == 0):
        failed += 1
    return Outcome(name, passed, failed, skipped, time.monotonic() - began)


def read_report(report: Path) -> tuple[int, int, int]:
    """Passed, failed (errors too) and skipped out of pytest's XML; all zero when there is none."""
    if not report.exists():
        return 0, 0, 0
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for key in counts:
            counts[key] += int(suite.get(key, "0"))
    failed = counts["failures"] + counts["errors"]
    return max(0, counts["tests"] - failed - counts["skipped"]), failed, counts["skipped"]


def table(outcomes: list[Outcome]) -> str:
    """The summary, its last line being the total."""
    width = max(len(outcome.suite) for outcome in outcomes)
    lines = [f"{'suite':{width}}  passed  failed  skipped  seconds"]
    for one in outcomes:
        note = "" if one.ok else "   <- failed" if one.failed else "   <- ran no test"
        lines.append(f"{one.suite:{width}}  {one.passed:6}  {one.failed:6}  {one.skipped:7}  {one.seconds:7.1f}{note}")
    passed = sum(one.passed for one in outcomes)
    failed = sum(one.failed for one in outcomes)
    skipped = sum(one.skipped for one in outcomes)
    lines += ["", f"total: {passed} passed, {failed} failed, {skipped} skipped"]
    return "\n".join(lines)


@contextlib.contextmanager
def watching_leftovers(outcomes: list[Outcome], containers: Callable[[], set[str]]) -> Iterator[None]:
    """Adds a line to the outcomes that says whether the run left containers or files behind."""
    began = time.monotonic()
    before, files = containers(), _changed_files()
    yield
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while (left := containers() - before) and time.monotonic() < deadline:
        time.sleep(0.2)
    changed = _changed_files() - files
    for name in sorted(left):
        print(f"left behind: container {name}")
    for name in sorted(changed):
        print(f"left behind: {name}")
    ok = not left and not changed
    outcomes.append(Outcome("nothing left behind", int(ok), int(not ok), 0, time.monotonic() - began))


def _containers() -> set[str]:
    try:
        client = docker.from_env(version="auto", timeout=30)
    except DockerException:
        return set()
    with contextlib.closing(client):
        try:
            found = client.api.containers(all=True, filters={"label": "bulkhead"})
        except (DockerException, requests.RequestException):
            return set()
    return {f"{item['Id'][:12]} {item['Image']}" for item in found}


def _changed_files() -> set[str]:
    if not (ROOT / ".git").exists():
        return set()
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return set(status.stdout.splitlines())


def _run(command: list[str], output: IO[bytes] | None = None) -> int:
    """Runs in the checkout, writing to `output` or our own; kills the process group after SUITE_SECONDS."""
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    ) as process:
        try:
            return process.wait(timeout=SUITE_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, KeyboardInterrupt):
                raise
            print(f"killed after {SUITE_SECONDS} seconds", flush=True)
            return -1


def plan(only: list[str]) -> list[partial[Outcome]]:
    """What `make test` runs, in order: all suites, or those named in `only`."""
    steps = [(name, partial(run_static, name, command)) for name, command in static_checks()]
    for name, arguments in suites(ROOT / "tests"):
        steps.append((name, partial(run_pytest, name, arguments)))
    return [run for name, run in steps if not only or name.removeprefix("tests/") in only]


def run_quick() -> list[Outcome]:
    """What `make check` runs: the static checks beside the tests that need no engine and no client."""
    left_out = [f"--ignore=tests/{name}" for name in NOT_QUICK]
    with ThreadPoolExecutor(1) as beside:
        static = [beside.submit(run_static, name, command) for name, command in static_checks()]
        fast = run_pytest("fast tests", [*FAST, *left_out])
        return [*(one.result() for one in static), fast]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", help="only these (format, lint, ..., or a directory of tests/)")
    parser.add_argument("--quick", action="store_true", help="static checks, and tests without engine or client")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with watching_leftovers(outcomes, set if options.quick else _containers):
        outcomes += run_quick() if options.quick else [run() for run in plan(options.suites)]
    print(f"\n{table(outcomes)}", flush=True)
    return 0 if all(one.ok for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
