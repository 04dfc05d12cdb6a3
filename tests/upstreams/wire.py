"""The mischief of a turn on the wire, whatever the dialect: its shape in a scenario file, and what it does to frames.

A turn may have, besides the fields of docs/scenarios.md, `wire: {...}` with the fields of `Wire`. Knows bytes and
frames (one frame: one event of the stream). Must not know what is in them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, overload

import msgspec

from gateway.providers.scripted.delivery import Pause, Step
from gateway.providers.scripted.scenario import Fault, Pace, ScenarioError

__all__ = ["Endless", "Wire", "carried", "take_wires"]

Deltas = Literal[
    "repeated id", "split name", "interleaved", "no index", "whole", "object", "not json", "duplicate", "new id"
]
Counts = Literal["missing", "zero", "lying", "before finish"]


class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is odd about the bytes of one answer. All of it is legal HTTP, and all of it has been seen."""

    deltas: Deltas | None = None
    """Of a chat stream's calls: id and name in every chunk; the name in two chunks; parallel calls mixed; no index;
    arguments whole; arguments as an object; arguments that are no JSON; every argument chunk twice; the second call
    under the first one's index."""
    usage: Counts | None = None
    """Counts of a stream: none at all; all zero; ten times too many; in a chunk before the one that finishes."""
    first_delta: bool = False
    """The chunk that names the role carries the first text too."""
    no_content: bool = False
    """An answer without anything in it."""
    no_done: bool = False
    """A chat stream ends without `[DONE]`."""
    endless: bool = False
    """The last delta is repeated for ever."""
    error_in_200: bool = False
    """Status 200, and an error as the first and only event, or as the whole body."""
    html: int | None = None
    """A page of the front door with this status."""
    garbage: bool = False
    """One event whose data is cut JSON, after `after_events` of the fault or the first."""
    gzip: bool = False
    """Compressed, though nobody asked."""
    crlf: bool = False
    """Lines end with CR LF."""
    no_final_blank: bool = False
    """The last event's blank line is missing."""
    comments: bool = False
    """Comment lines between the events."""
    byte_by_byte: bool = False
    """Every byte in an HTTP chunk of its own."""
    headers: dict[str, str] = {}
    """Further headers of the answer."""


def take_wires(data: Any) -> tuple[Any, dict[tuple[str, int], Wire]]:
    """A scenario's plain data without its `wire` fields, and these by conversation and step. Raises `ScenarioError`."""
    found: dict[tuple[str, int], Wire] = {}
    if not isinstance(data, dict):
        return data, found
    groups = [(str(one.get("name", "main")), one) for one in data.get("conversations", []) if isinstance(one, dict)]
    for name, group in [*groups, ("main", data)]:
        for step, turn in enumerate(group.get("turns") or []):
            if isinstance(turn, dict) and "wire" in turn:
                try:
                    found[name, step] = msgspec.convert(turn.pop("wire"), Wire)
                except msgspec.ValidationError as error:
                    raise ScenarioError(f"wire: {error}") from error
    return data, found


def carried(
    frames: Sequence[bytes], fault: Fault | None, wire: Wire, pace: Pace
) -> tuple[Sequence[Step], Mapping[str, str]]:
    """The steps that send the frames, and the headers that this needs."""
    steps: Iterable[Step] = _marked(frames, fault, wire)
    headers = dict(wire.headers)
    if wire.gzip:
        steps, headers["content-encoding"] = _zipped(steps), "gzip"
    size = 1 if wire.byte_by_byte else pace.chunk_bytes
    whole = list(_paced(_chunked(steps, size), pace.between_ms / 1000))
    return (Endless(whole, frames[-1]), headers) if wire.endless else (whole, headers)


class Endless(Sequence[Step]):
    """Steps that never end: some, then one frame again and again, with a breath in between."""

    def __init__(self, begin: Sequence[Step], again: bytes) -> None:
        self._begin = begin
        self._again: tuple[Step, Step] = (again, Pause(0.001))

    def __len__(self) -> int:
        return 2**31

    @overload
    def __getitem__(self, at: int) -> Step: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Step]: ...
    def __getitem__(self, at: int | slice) -> Step | Sequence[Step]:
        if isinstance(at, slice):
            raise TypeError("an endless answer has no slices")
        return self._begin[at] if at < len(self._begin) else self._again[at % 2]


def _marked(frames: Sequence[bytes], fault: Fault | None, wire: Wire) -> Iterator[Step]:
    """The frames in their outer form, up to where the fault cuts them."""
    shaped = [*frames]
    if wire.garbage:
        shaped.insert(
            1 if fault is None or fault.after_events is None else fault.after_events, b'data: {"id": "chat\n\n'
        )
    if wire.comments:
        shaped = [b": still here\n\n" + frame for frame in shaped]
    if wire.crlf:
        shaped = [frame.replace(b"\n", b"\r\n") for frame in shaped]
    if wire.no_final_blank and shaped:
        shaped[-1] = shaped[-1].rstrip(b"\r\n")
    if fault is None or (fault.cut is None and not fault.stall):
        yield from shaped
    elif fault.after_bytes is not None or fault.after_events is None:
        body = b"".join(shaped)
        yield body[: len(body) // 2 if fault.after_bytes is None else fault.after_bytes]
    else:
        yield from shaped[: fault.after_events]
    if fault is not None and fault.stall:
        yield "stall"
    elif fault is not None and fault.cut in ("close", "reset"):
        yield fault.cut


def _zipped(steps: Iterable[Step]) -> Iterator[Step]:
    """Every frame can be read as soon as it has come."""
    packer = zlib.compressobj(wbits=31)
    cut = False
    for step in steps:
        cut = cut or not isinstance(step, bytes)
        yield packer.compress(step) + packer.flush(zlib.Z_SYNC_FLUSH) if isinstance(step, bytes) else step
    if not cut:
        yield packer.flush()


def _chunked(steps: Iterable[Step], size: int | None) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, bytes) and size is not None:
            yield from (step[at : at + size] for at in range(0, len(step), size))
        elif step != b"":
            yield step


def _paced(steps: Iterable[Step], seconds: float) -> Iterator[Step]:
    for at, step in enumerate(steps):
        if at and seconds:
            yield Pause(seconds)
        yield step
