"""Limits of one turn: what has been used, and the answer when one is reached."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from gateway.agent.facts import TurnLimits
from gateway.limits.counts import counts_of
from gateway.messages import usage as counts

Json = dict[str, Any]


class LimitReached(Exception):
    """Ends the turn with an answer that says why. `limit` is the name of the setting."""

    def __init__(self, limit: str, value: object, text: str) -> None:
        super().__init__(text)
        self.limit = limit
        self.value = value
        self.text = text


class Budget:
    """Counts model calls, output tokens and repetitions of one turn; raises `LimitReached`."""

    def __init__(self, limits: TurnLimits) -> None:
        self._limits = limits
        self.iterations: list[Json] = []
        """Usage of every model call so far."""
        self._last_calls = ""
        self._repeats = 0

    def check_step(self, step: int) -> None:
        """Before model call number `step`."""
        most = self._limits.steps
        if step > most:
            raise LimitReached(
                "max_steps", most, f"This turn was stopped after {most} model calls, the most it may take."
            )
        tokens = self._limits.output_tokens
        used = sum(call.output for one in self.iterations for call in counts_of(one))
        if tokens is not None and used >= tokens:
            text = f"This turn was stopped after {used} output tokens; {tokens} are allowed here."
            raise LimitReached("max_turn_output_tokens", tokens, text)

    def check_repeats(self, calls: Sequence[Json]) -> None:
        """Before the calls of one answer run: a model that asks for the same again and again is stuck."""
        asked = [[call.get("name"), call.get("input")] for call in calls]
        signature = sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()
        self._repeats = self._repeats + 1 if signature == self._last_calls else 1
        self._last_calls = signature
        most = self._limits.repeats
        if self._repeats > most:
            text = (
                f"This turn was stopped because the model asked for the same {asked[0][0]} call more than {most} "
                "times in a row."
            )
            raise LimitReached("max_repeats", most, text)

    def out_of_time(self) -> LimitReached:
        seconds = self._limits.seconds
        text = f"This turn was stopped after {seconds:g} seconds, the longest it may take."
        return LimitReached("max_turn_seconds", seconds, text)

    def usage(self, *, reads_iterations: bool = True) -> list[Json]:
        """What the client is told at the end, one report after the other; the last one stands.

        The sum over all model calls, with each call listed: what the API says of a loop of its own. Claude
        Code before 2.1.330 does not read the list: it takes the last report for how full its context is and
        adds up all reports for what the turn cost (measured), so it gets one report a call.
        """
        if len(self.iterations) <= 1:
            return self.iterations or [{"input_tokens": 0, "output_tokens": 0}]
        listed = [{"type": "message", **one} for one in self.iterations]
        if not reads_iterations:
            *former, last = self.iterations
            return [*former, {**last, "iterations": listed}]
        total: Json = {}
        for one in self.iterations:
            total = counts.add(total, one)
        return [{**total, "iterations": listed}]
