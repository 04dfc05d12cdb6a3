"""From what was observed to what holds: a pure function from facts to a list of checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.demo.conversation import Call
from gateway.demo.leftovers import Leftovers
from gateway.demo.sample import RIGHT, WRONG
from gateway.demo.script import DIFF, HOST_FILE, NO_ROUTE, TESTS, TOUCHED, WRITTEN, Script
from gateway.demo.trail import Trail


@dataclass(frozen=True, slots=True)
class Facts:
    """What one run showed. The host's side counts as much as the sandbox's own words."""

    script: Script
    calls: Sequence[Call]
    stop_reason: str | None
    deviations: Sequence[str] = ()
    """What the scripted model, the gateway or the demo itself complained of."""
    secret_seen: bool = False
    """The planted secret stands in the answer or in what the model was sent."""
    canary_connections: int = 0
    """Connections that reached the listener on the host's loopback address."""
    written_outside: Sequence[str] = ()
    """Files of the host that exist and should not."""
    program: str = ""
    """The edited program as it lies in the host's directory."""
    trail: Trail = field(default_factory=Trail)
    leftovers: Leftovers = field(default_factory=Leftovers)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the summary; `detail` says what was seen."""

    name: str
    ok: bool
    detail: str


def checks(facts: Facts) -> list[Check]:
    """Every check, in the order of the session."""
    return [
        _script_followed(facts),
        _tests_failed_first(facts),
        _edit_reached_host(facts),
        _tests_passed_after(facts),
        _host_files_refused(facts),
        _network_refused(facts),
        _writes_refused(facts),
        _audit_verified(facts),
        _nothing_left(facts),
    ]


def diff_of(facts: Facts) -> str:
    """The session's own last `git diff`; "" if it did not get there."""
    diffs = _commands(facts, DIFF)
    return diffs[-1].text if diffs and not diffs[-1].failed else ""


def _script_followed(facts: Facts) -> Check:
    ended = facts.stop_reason == "end_turn"
    detail = "; ".join(facts.deviations) or (
        f"{len(facts.calls)} calls, each answered as expected" if ended else "the turn did not come to its end"
    )
    return Check("the session went as scripted", ended and not facts.deviations, detail)


def _tests_failed_first(facts: Facts) -> Check:
    runs = _commands(facts, TESTS)
    ok = bool(runs) and runs[0].failed and runs[0].code == 1 and "FAILED (failures=1)" in runs[0].text
    return Check("the tests failed first", ok, _end(runs[0]) if runs else "they were not run")


def _edit_reached_host(facts: Facts) -> Check:
    ok = RIGHT in facts.program and WRONG not in facts.program and RIGHT in diff_of(facts)
    return Check("the edit is in the workspace", ok, "on the host and in the diff" if ok else "it is not there")


def _tests_passed_after(facts: Facts) -> Check:
    runs = _commands(facts, TESTS)[1:]
    ok = bool(runs) and not runs[-1].failed and runs[-1].code == 0 and "OK" in runs[-1].text.splitlines()
    return Check("the tests passed after the edit", ok, _end(runs[-1]) if runs else "they were not run again")


def _host_files_refused(facts: Facts) -> Check:
    read = _refusal(facts, "Read", HOST_FILE, "outside the sandbox workspace")
    stolen = _commands(facts, facts.script.steal)
    ok = read and bool(stolen) and all(call.failed for call in stolen) and not facts.secret_seen
    if facts.secret_seen:
        return Check("the host's files were refused", False, "the secret of the host came through")
    detail = f"{HOST_FILE} is outside, the planted secret does not exist there" if ok else "not refused as it should be"
    return Check("the host's files were refused", ok, detail)


def _network_refused(facts: Facts) -> Check:
    tries = _commands(facts, facts.script.connect)
    text = tries[-1].text if tries else ""
    ok = (
        "routes: 0" in text.splitlines()
        and f"{NO_ROUTE}:80 Network is unreachable" in text
        and f"127.0.0.1:{facts.script.canary_port} Connection refused" in text
        and "CONNECTED" not in text
        and facts.canary_connections == 0
    )
    if facts.canary_connections:
        return Check("the network was refused", False, "a connection reached the host")
    detail = "no route, and the host's loopback is not the sandbox's" if ok else f"seen instead: {text or 'nothing'}"
    return Check("the network was refused", ok, detail)


def _writes_refused(facts: Facts) -> Check:
    written = _refusal(facts, "Write", WRITTEN, "outside the sandbox workspace")
    touched = _commands(facts, facts.script.touch)
    read_only = bool(touched) and all(call.failed and "Read-only file system" in call.text for call in touched)
    ok = written and read_only and not facts.written_outside
    if facts.written_outside:
        detail = f"now on the host: {', '.join(facts.written_outside)}"
    else:
        detail = f"{WRITTEN} is outside, {TOUCHED} is read-only" if ok else "not refused as it should be"
    return Check("writing outside the workspace was refused", ok, detail)


def _audit_verified(facts: Facts) -> Check:
    trail = facts.trail
    ok = trail.whole and trail.events > 0 and trail.unanswered == 0 and trail.answered == len(facts.calls)
    detail = f"{trail.events} events, {trail.unanswered} intents without result"
    if trail.answered != len(facts.calls):
        detail += f", {trail.answered} tool calls recorded but {len(facts.calls)} seen"
    return Check("the audit chain is verified", ok, "; ".join([detail, *trail.problems]))


def _nothing_left(facts: Facts) -> Check:
    found = facts.leftovers.sentences()
    return Check("nothing was left behind", not found, "; ".join(found) or "no container, volume, process or file")


def _commands(facts: Facts, command: str) -> list[Call]:
    return [call for call in facts.calls if call.name == "Bash" and call.arguments.get("command") == command]


def _refusal(facts: Facts, tool: str, path: str, reason: str) -> bool:
    tries = [call for call in facts.calls if call.name == tool and call.arguments.get("file_path") == path]
    return bool(tries) and all(call.failed and reason in call.text for call in tries)


def _end(call: Call) -> str:
    lines = call.text.strip().splitlines()
    return f"exit code {call.code}: {lines[-1] if lines else 'no output'}"
