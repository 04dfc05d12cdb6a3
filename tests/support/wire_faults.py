"""Everything that goes wrong, or only looks odd, on the way from an upstream: turns that any dialect can play.

Each is a conversation of its own, begun by the prompt `fault NAME`.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["BROKEN", "CONVERSATIONS", "EITHER", "HARMLESS", "INPUTS", "WORDS", "prompt"]

Json = dict[str, Any]

WORDS = "Größere words — in several pieces, 😀 too."
INPUTS = [{"city": "Zürich"}, {"city": "Oslo"}]
_CALLS = [{"tool_use": {"name": "get_weather", "input": given}} for given in INPUTS]
_TURN: Json = {"blocks": [{"text": WORDS}, *_CALLS]}

HARMLESS: dict[str, Json] = {
    "nothing": {},
    "gzip": {"wire": {"gzip": True}},
    "bytes": {"wire": {"byte_by_byte": True}},
    "gzip in bytes": {"wire": {"gzip": True, "byte_by_byte": True}},
    "line ends": {"wire": {"crlf": True}},
    "line ends in bytes": {"wire": {"crlf": True, "byte_by_byte": True}},
    "comments": {"wire": {"comments": True}},
    "no blank line at the end": {"wire": {"no_final_blank": True}},
    "text with the role": {"wire": {"first_delta": True}},
    "id and name in every chunk": {"wire": {"deltas": "repeated id"}},
    "name in two chunks": {"wire": {"deltas": "split name"}},
    "mixed calls": {"wire": {"deltas": "interleaved"}},
    "calls without index": {"wire": {"deltas": "no index"}},
    "whole calls": {"wire": {"deltas": "whole"}},
    "arguments as an object": {"wire": {"deltas": "object"}},
    "call begun twice": {"wire": {"deltas": "duplicate"}},
    "both calls under one index": {"wire": {"deltas": "new id"}},
    "no counts": {"wire": {"usage": "missing"}},
    "counts of zero": {"wire": {"usage": "zero"}},
    "counts too high": {"wire": {"usage": "lying"}},
    "counts before the end": {"wire": {"usage": "before finish"}},
    "slow first byte": {"pace": {"first_ms": 300}},
    "many pieces": {"pace": {"pieces": 100}},
}
"""The client gets the answer as if nothing were odd."""

BROKEN: dict[str, Json] = {
    "closed in the middle": {"fault": {"cut": "close", "after_events": 4}},
    "reset in the middle": {"fault": {"cut": "reset", "after_events": 4}},
    "ended in the middle": {"fault": {"cut": "clean", "after_events": 4}},
    "closed at once": {"fault": {"cut": "close", "after_bytes": 1}},
    "ended without a byte": {"fault": {"cut": "clean", "after_bytes": 0}},
    "closed in a character": {"fault": {"cut": "close", "after_bytes": 700}},
    "error in the middle": {"fault": {"error_event": {"message": "the engine has died"}, "after_events": 4}},
    "error at the beginning": {"fault": {"error_event": {"message": "the engine has died"}, "after_events": 0}},
    "error under status 200": {"wire": {"error_in_200": True}},
    "page of the front door": {"wire": {"html": 502}},
    "page under status 200": {"wire": {"html": 200}},
    "status 400": {"fault": {"status": 400, "message": "the field is wrong"}},
    "status 401": {"fault": {"status": 401}},
    "status 403": {"fault": {"status": 403}},
    "status 404": {"fault": {"status": 404}},
    "status 429": {"fault": {"status": 429, "headers": {"retry-after": "7"}}},
    "status 500": {"fault": {"status": 500}},
    "status 503": {"fault": {"status": 503}},
    "cut JSON": {"wire": {"garbage": True}, "fault": {"after_events": 3}},
}
"""The client is told of an error, by status or by the last event of its stream."""

EITHER: dict[str, Json] = {
    "no mark at the end": {"wire": {"no_done": True}},
    "arguments that are no JSON": {"wire": {"deltas": "not json"}},
    "nothing said": {"wire": {"no_content": True}},
}
"""An answer or an error, but a legal one."""


def prompt(name: str) -> str:
    """What a request says to get this answer."""
    return f"fault {name}"


CONVERSATIONS = [
    {"name": prompt(name), "match": {"user": f"/^{re.escape(prompt(name))}$/"}, "turns": [{**_TURN, **odd}]}
    for name, odd in {**HARMLESS, **BROKEN, **EITHER}.items()
]
"""For a scenario."""
