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
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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
NEEDS_PEERS = ("clients",)
"""Left out of the quick gate: they start real clients."""
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


def suite_directories(tests: Path) -> list[Path]:
    """Directories of tests/ that hold tests, in running order."""
    found = [path for path in tests.iterdir() if path.is_dir() and any(path.rglob("test_*.py"))]
    ranks = {name: rank for rank, name in enumerate(ORDER)}
    return sorted(found, key=lambda path: (ranks.get(path.name, len(ranks)), path.name))


def run_static(name: str, command: list[str]) -> Outcome:
    began = time.monotonic()
    ok = _run(command) == 0
    return Outcome(name, int(ok), int(not ok), 0, time.monotonic() - began)


def run_pytest(name: str, arguments: list[str]) -> Outcome:
    began = time.monotonic()
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
def watching_leftovers(outcomes: list[Outcome]) -> Iterator[None]:
    """Adds a line to the outcomes that says whether the run left containers or files behind."""
    began = time.monotonic()
    before, files = _containers(), _changed_files()
    yield
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while (left := _containers() - before) and time.monotonic() < deadline:
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


def _run(command: list[str]) -> int:
    """Runs in the checkout with our own output; kills the whole process group after SUITE_SECONDS."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
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


def plan(quick: bool, only: list[str]) -> list[tuple[str, partial[Outcome]]]:
    """What to run, in order."""
    steps = [(name, partial(run_static, name, command)) for name, command in static_checks()]
    if quick:
        left_out = [f"--ignore=tests/{name}" for name in NEEDS_PEERS]
        steps.append(("fast tests", partial(run_pytest, "fast tests", [*FAST, *left_out])))
        return steps
    for directory in suite_directories(ROOT / "tests"):
        name = f"tests/{directory.name}"
        steps.append((name, partial(run_pytest, name, [name])))
    return [(name, run) for name, run in steps if not only or name.removeprefix("tests/") in only]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", help="only these (format, lint, ..., or a directory of tests/)")
    parser.add_argument("--quick", action="store_true", help="static checks, and tests without engine or client")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with watching_leftovers(outcomes):
        for name, run in plan(options.quick, options.suites):
            print(f"\n=== {name}", flush=True)
            outcomes.append(run())
    print(f"\n{table(outcomes)}", flush=True)
    return 0 if all(one.ok for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
