"""Spoils a chat stream the ways real servers do: call deltas in odd forms, counts in odd places.

Pure: chunks in, chunks out. Bytes are spoiled in `wire`.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from tests.upstreams.chat_writing import Chunks
from tests.upstreams.wire import Wire

__all__ = ["spoiled"]

Json = dict[str, Any]


def spoiled(stream: Chunks, wire: Wire) -> list[Json]:
    """All chunks in the order of the wire."""
    deltas = [] if wire.no_content else list(stream.deltas)
    if wire.deltas is not None:
        deltas = _redone(deltas, wire.deltas)
    if wire.first_delta:
        deltas = _merged(deltas)
    finish, usage = copy.deepcopy(stream.finish), copy.deepcopy(stream.usage)
    if wire.no_content:
        finish["choices"][0]["delta"] = {}
    for chunk in (finish, usage):
        if chunk is not None and "usage" in chunk:
            _counted(chunk, wire)
    if usage is None or "usage" not in usage:
        return [*deltas, finish]
    return [*deltas, usage, finish] if wire.usage == "before finish" else [*deltas, finish, usage]


def _counted(chunk: Json, wire: Wire) -> None:
    if wire.usage == "missing":
        del chunk["usage"]
    elif wire.usage in ("zero", "lying"):
        factor = 0 if wire.usage == "zero" else 10
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            chunk["usage"][name] *= factor


def _merged(deltas: Sequence[Json]) -> list[Json]:
    """The role and the first piece in one chunk."""
    first, second, *rest = deltas
    merged = copy.deepcopy(second)
    merged["choices"][0]["delta"]["role"] = "assistant"
    return [merged, *rest] if first["choices"][0]["delta"].get("content") == "" else list(deltas)


def _redone(deltas: Sequence[Json], how: str) -> list[Json]:
    words = [one for one in deltas if not _calls(one)]
    frame = copy.deepcopy(deltas[0])
    calls = _gathered(deltas)
    made: list[Json] = []
    for delta in _delta_forms(calls, how):
        chunk = copy.deepcopy(frame)
        chunk["choices"][0]["delta"] = {"tool_calls": delta}
        made.append(chunk)
    return [*words, *made]


def _delta_forms(calls: Sequence[tuple[Json, list[str]]], how: str) -> Iterator[list[Json]]:
    """Lists of call deltas, one for each chunk."""
    if how == "interleaved":
        yield from ([_begun(head)] for head, _ in calls)
        columns = itertools.zip_longest(*(pieces for _, pieces in calls), fillvalue=None)
        for column in columns:
            yield [_more(calls[nth][0], piece) for nth, piece in enumerate(column) if piece is not None]
        return
    for nth, (head, pieces) in enumerate(calls):
        whole = "".join(pieces)
        match how:
            case "repeated id":
                for piece in ["", *pieces]:
                    yield [{**_begun(head), "function": {"name": head["function"]["name"], "arguments": piece}}]
            case "split name":
                name = head["function"]["name"]
                half = max(1, len(name) // 2)
                yield [{**_begun(head), "function": {"name": name[:half], "arguments": ""}}]
                yield [{"index": head["index"], "function": {"name": name[half:]}}]
                yield from ([_more(head, piece)] for piece in pieces)
            case "no index":
                for delta in (_begun(head), *(_more(head, piece) for piece in pieces)):
                    yield [{key: value for key, value in delta.items() if key != "index"}]
            case "whole":
                yield [{**_begun(head), "function": {"name": head["function"]["name"], "arguments": whole}}]
            case "object":
                given = json.loads(whole)
                yield [{**_begun(head), "function": {"name": head["function"]["name"], "arguments": given}}]
            case "not json":
                yield [_begun(head)]
                yield [_more(head, whole[: max(1, len(whole) - 3)])]
            case "duplicate":
                yield [_begun(head)]
                yield [_begun(head)]
                yield from ([_more(head, piece)] for piece in pieces)
            case "new id":
                yield [{**_begun(head), "index": 0}]
                yield from ([{**_more(head, piece), "index": 0}] for piece in pieces)
            case _:
                raise ValueError(f"unknown form {how!r} of call {nth}")


def _calls(chunk: Json) -> list[Json]:
    found: list[Json] = chunk["choices"][0]["delta"].get("tool_calls") or []
    return found


def _gathered(deltas: Sequence[Json]) -> list[tuple[Json, list[str]]]:
    """Each call's first delta and the pieces of its arguments."""
    found: dict[int, tuple[Json, list[str]]] = {}
    for delta in (call for chunk in deltas for call in _calls(chunk)):
        _, pieces = found.setdefault(delta["index"], (delta, []))
        pieces += [delta["function"]["arguments"]] if delta["function"].get("arguments") else []
    return list(found.values())


def _begun(head: Json) -> Json:
    function = {"name": head["function"]["name"], "arguments": ""}
    return {"index": head["index"], "id": head["id"], "type": "function", "function": function}


def _more(head: Json, piece: str) -> Json:
    return {"index": head["index"], "function": {"arguments": piece}}
