"""The list of models: own names first, upstreams' lists behind, never late and never lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from routing_fakes import FakeProvider

from gateway.providers.base import UpstreamBroken, UpstreamFailure, UpstreamTimeout
from gateway.routing.catalogue import FAILED_SECONDS, FRESH_SECONDS, Catalogue
from gateway.routing.route import ModelRoute, Routes, Target


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def catalogue(
    *providers: FakeProvider, entries: tuple[ModelRoute, ...] = (), wait: float = 5.0, **options: Any
) -> tuple[Catalogue, Clock]:
    clock = Clock()
    options = {"default": providers[0].name if providers else None, "discovery": True, **options}
    routes = Routes(entries, [one.name for one in providers], **options)
    return Catalogue(routes, {one.name: one.models for one in providers}, wait=wait, clock=clock), clock


async def ids(listed: Catalogue) -> list[str]:
    return [model["id"] for model in await listed.models()]


FAST = ModelRoute("fast", (Target("one", "qwen3"),), "Fast one", 4096)
OPUS = ModelRoute("claude-opus", (Target("one", "x"),))
HAIKU = ModelRoute("claude-haiku-*", (Target("one", "*"),))


async def test_own_names_come_first_then_the_default_upstreams_list_then_the_others_under_their_name() -> None:
    one = FakeProvider("one", models=["claude-a", "claude-opus"])
    two = FakeProvider("two", models=["anthropic.claude-b"])
    listed, _ = catalogue(two, one, entries=(OPUS, HAIKU), default="one")
    assert await ids(listed) == ["claude-opus", "claude-a", "two/anthropic.claude-b"]


async def test_a_model_that_claude_code_would_pass_over_is_listed_a_second_time() -> None:
    listed, _ = catalogue(FakeProvider("one", models=["qwen/qwen3"]), entries=(FAST,))
    assert await ids(listed) == ["fast", "claude-via-fast", "qwen/qwen3", "claude-via-qwen/qwen3"]
    first, via, *_ = await listed.models()
    assert via == {**first, "id": "claude-via-fast"}


async def test_every_model_has_the_apis_fields_and_keeps_its_own() -> None:
    one = FakeProvider("one")

    async def told() -> list[dict[str, Any]]:
        return [{"id": "claude-a", "max_input_tokens": 200_000, "created_at": "2026-01-01T00:00:00Z"}, {"no": "id"}]

    one.models = told  # type: ignore[method-assign]
    listed, _ = catalogue(one, entries=(FAST,))
    fast, _, other = await listed.models()
    assert fast == {
        "type": "model",
        "id": "fast",
        "display_name": "Fast one",
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_tokens": 4096,
    }
    assert (other["display_name"], other["created_at"]) == ("claude-a", "2026-01-01T00:00:00Z")
    assert other["max_input_tokens"] == 200_000


async def test_a_list_is_asked_for_once_while_it_is_fresh_and_by_many_at_a_time() -> None:
    one = FakeProvider("one", models=["claude-a"])
    listed, clock = catalogue(one)
    await asyncio.gather(*(listed.models() for _ in range(5)))
    clock.now += FRESH_SECONDS - 1
    await listed.models()
    assert one.listed == 1


async def test_an_old_list_is_served_while_the_new_one_is_fetched() -> None:
    one = FakeProvider("one", models=["claude-a"])
    listed, clock = catalogue(one)
    await listed.models()
    one.hold_list, one.models_told = asyncio.Event(), ["claude-b"]
    clock.now += FRESH_SECONDS
    assert await ids(listed) == ["claude-a"]
    one.hold_list.set()
    while await ids(listed) != ["claude-b"]:
        await asyncio.sleep(0)
    assert one.listed == 2


async def test_an_old_list_outlives_an_upstream_that_tells_none() -> None:
    one = FakeProvider("one", models=["claude-a"])
    listed, clock = catalogue(one)
    await listed.models()
    one.models_told = UpstreamBroken("gone")
    clock.now += FRESH_SECONDS
    for _ in range(5):
        assert await ids(listed) == ["claude-a"]
        await asyncio.sleep(0)
    assert one.listed == 2


@pytest.mark.parametrize("trouble", [UpstreamBroken("gone"), asyncio.Event()])
async def test_an_upstream_without_an_answer_takes_nothing_from_the_rest(trouble: Any) -> None:
    bad, good = FakeProvider("bad"), FakeProvider("good", models=["claude-a"])
    if isinstance(trouble, asyncio.Event):
        bad.hold_list = trouble
    else:
        bad.models_told = trouble
    listed, _ = catalogue(bad, good, entries=(OPUS,), wait=0.01)
    assert await ids(listed) == ["claude-opus", "good/claude-a"]
    await listed.aclose()


@pytest.mark.parametrize(("failure", "raised"), [(UpstreamBroken("gone"), UpstreamBroken), (None, UpstreamTimeout)])
async def test_with_nothing_to_show_the_upstreams_failure_is_told(
    failure: UpstreamFailure | None, raised: type[UpstreamFailure]
) -> None:
    one = FakeProvider("one", models=failure or ())
    one.hold_list = None if failure else asyncio.Event()
    listed, _ = catalogue(one, wait=0.01)
    with pytest.raises(raised):
        await listed.models()
    await listed.aclose()


async def test_an_upstream_that_failed_is_not_asked_again_at_once() -> None:
    one = FakeProvider("one", models=UpstreamBroken("gone"))
    listed, clock = catalogue(one, entries=(OPUS,))
    for _ in range(3):
        await listed.models()
    assert one.listed == 1
    clock.now += FAILED_SECONDS
    one.models_told = ["claude-a"]
    assert await ids(listed) == ["claude-opus", "claude-a"]


@pytest.mark.parametrize("options", [{"discovery": False}, {"offered": ("fast", "claude-x")}])
async def test_upstreams_are_not_asked_where_their_lists_are_not_wanted(options: dict[str, Any]) -> None:
    one = FakeProvider("one", models=["claude-a"])
    listed, _ = catalogue(one, entries=(FAST, OPUS), **options)
    found = await ids(listed)
    assert one.listed == 0
    assert found == (
        ["fast", "claude-via-fast", "claude-x"] if "offered" in options else ["fast", "claude-via-fast", "claude-opus"]
    )


async def test_an_upstream_that_has_no_list_is_an_empty_one() -> None:
    listed, _ = catalogue(FakeProvider("one"))
    assert await ids(listed) == []


async def test_closing_ends_a_fetch_that_runs() -> None:
    one = FakeProvider("one")
    one.hold_list = asyncio.Event()
    listed, _ = catalogue(one, entries=(OPUS,), wait=0.01)
    await listed.models()
    await listed.aclose()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("models of")] == []
