"""Checks a request against what the scenario expects of it: a list of plain complaints."""

from collections.abc import Iterator, Sequence

from gateway.messages.blocks import Block
from gateway.providers.scripted.conversation import Asked, Place, matches, names
from gateway.providers.scripted.scenario import Expect, ResultExpect
from gateway.providers.scripted.template import result_text

__all__ = ["complaints"]

_SHOWN = 400


def complaints(expect: Expect, asked: Asked, place: Place) -> list[str]:
    """What is not as expected; empty when all is."""
    return [*_about_results(expect, place.results), *_about_request(expect, asked, place)]


def _about_results(expect: Expect, results: Sequence[Block]) -> Iterator[str]:
    if expect.tool_result_count is not None and len(results) != expect.tool_result_count:
        yield f"expected {expect.tool_result_count} tool results, got {len(results)}"
    wanted = dict(expect.tool_results)
    for nth, one in wanted.items():
        if not 0 < nth <= len(results):
            yield f"expected a tool result {nth}, got {len(results)} results"
        else:
            yield from _about_result(one, results[nth - 1], f"tool result {nth}")
    if expect.last_tool_result is not None:
        if not results:
            yield "expected a tool result, got none"
        else:
            yield from _about_result(expect.last_tool_result, results[-1], "last tool result")


def _about_result(expect: ResultExpect, result: Block, which: str) -> Iterator[str]:
    text = result_text(result)
    shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
    for pattern in names(expect.contains or []):
        if not matches(pattern, text):
            yield f"{which} should contain {pattern!r}, is {shown}"
    for pattern in names(expect.excludes or []):
        if matches(pattern, text):
            yield f"{which} should not contain {pattern!r}, is {shown}"
    if expect.equals is not None and text != expect.equals:
        yield f"{which} should be {expect.equals!r}, is {shown}"
    if expect.is_error is not None and bool(result.get("is_error")) != expect.is_error:
        yield f"{which} should have is_error {expect.is_error}, is {shown}"


def _about_request(expect: Expect, asked: Asked, place: Place) -> Iterator[str]:
    for name in expect.tools_include:
        if name not in asked.tool_names:
            yield f"tool {name!r} should be offered, offered are {sorted(asked.tool_names)}"
    for name in expect.tools_exclude:
        if name in asked.tool_names:
            yield f"tool {name!r} should not be offered"
    count = len(asked.request.messages)
    if expect.messages is not None and count != expect.messages:
        yield f"expected {expect.messages} messages, got {count}"
    texts = {"user": place.user, "system": asked.system, "model": asked.request.model}
    for name, pattern in (("user", expect.user), ("system", expect.system), ("model", expect.model)):
        if pattern is not None and not matches(pattern, texts[name]):
            yield f"{name} should match {pattern!r}, is {texts[name][:_SHOWN]!r}"
    for name, value in expect.header.items():
        if asked.headers.get(name.lower()) != value:
            yield f"header {name} should be {value!r}, is {asked.headers.get(name.lower())!r}"
    body = asked.body.decode("utf-8", "replace")
    yield from (f"body should contain {one!r}" for one in expect.body_includes if not matches(one, body))
    yield from (f"body should not contain {one!r}" for one in expect.body_excludes if matches(one, body))
    for name, value in expect.fields.items():
        if asked.request.get(name) != value:
            yield f"field {name} should be {value!r}, is {asked.request.get(name)!r}"
