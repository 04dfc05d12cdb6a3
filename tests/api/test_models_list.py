"""GET /v1/models: the API's pages, ids with slashes, and what the official SDK makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import anthropic
import httpx
import httpx2
import pytest
from fastapi import FastAPI

from gateway.api import errors, models
from gateway.api.models import page_of
from gateway.providers.base import UpstreamBroken, UpstreamFailure
from gateway.routing.catalogue import model_info

LISTED = [model_info({"id": name}) for name in ("a", "b", "claude-via-b", "vllm/qwen/qwen3", "e")]
IDS = [model["id"] for model in LISTED]

PAGES: list[tuple[dict[str, Any], list[str], bool]] = [
    ({}, IDS, False),
    ({"limit": 2}, IDS[:2], True),
    ({"limit": 5}, IDS, False),
    ({"limit": 2, "after_id": "b"}, IDS[2:4], True),
    ({"limit": 2, "after_id": "claude-via-b"}, IDS[3:], False),
    ({"after_id": "e"}, [], False),
    ({"limit": 2, "before_id": "e"}, IDS[2:4], True),
    ({"limit": 4, "before_id": "e"}, IDS[:4], False),
    ({"before_id": "a"}, [], False),
    ({"limit": 1, "after_id": "a", "before_id": "e"}, IDS[1:2], True),
    ({"after_id": "a", "before_id": "e"}, IDS[1:4], False),
    ({"after_id": "e", "before_id": "a"}, [], False),
    ({"after_id": "unknown"}, IDS, False),
    ({"limit": 2, "before_id": "unknown"}, IDS[:2], True),
]


@pytest.mark.parametrize(("query", "ids", "more"), PAGES)
def test_a_page_lies_after_or_before_an_id(query: dict[str, Any], ids: list[str], more: bool) -> None:
    found = page_of(LISTED, **{"limit": 20, **query})
    assert [model["id"] for model in found["data"]] == ids
    assert found["has_more"] is more
    assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


def test_pages_of_any_size_walk_over_the_whole_list_in_both_directions() -> None:
    for limit in range(1, 7):
        forwards: list[str] = []
        page = page_of(LISTED, limit)
        forwards += [model["id"] for model in page["data"]]
        while page["has_more"]:
            page = page_of(LISTED, limit, after_id=page["last_id"])
            forwards += [model["id"] for model in page["data"]]
        assert forwards == IDS
        backwards = ["e"]
        page = {"has_more": True, "first_id": "e"}
        while page["has_more"]:
            page = page_of(LISTED, limit, before_id=page["first_id"])
            backwards = [model["id"] for model in page["data"]] + backwards
        assert backwards == IDS


class Listing:
    """What stands for the router."""

    failure: UpstreamFailure | None = None

    async def models(self) -> list[dict[str, Any]]:
        if self.failure is not None:
            raise self.failure
        return LISTED


@pytest.fixture
def listing() -> Listing:
    return Listing()


@pytest.fixture
def app(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    async def anybody(request: Any) -> None:
        return None

    monkeypatch.setattr(models, "authenticate", anybody)
    app = FastAPI(redirect_slashes=False)
    errors.install(app)
    app.add_middleware(errors.RequestIds)
    app.include_router(models.router)
    every_model = SimpleNamespace(allows=lambda principal, model: True)
    app.state.context = SimpleNamespace(services=SimpleNamespace(router=listing), admission=every_model)
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as made:
        yield made


async def test_one_model_is_found_by_its_id_slashes_and_all(client: httpx.AsyncClient) -> None:
    for model_id in ("a", "vllm/qwen/qwen3", "vllm%2Fqwen%2Fqwen3"):
        answer = await client.get(f"/v1/models/{model_id}")
        assert answer.json()["id"] == model_id.replace("%2F", "/")
    missing = await client.get("/v1/models/no/such")
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x"])
async def test_a_limit_out_of_bounds_is_refused(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"/v1/models?{query}")).status_code == 400
    assert (await client.get("/v1/models?limit=1000")).status_code == 200


async def test_without_any_list_the_upstreams_failure_is_an_envelope(
    client: httpx.AsyncClient, listing: Listing
) -> None:
    listing.failure = UpstreamBroken("gone")
    answer = await client.get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "api_error")


async def test_the_official_sdk_reads_every_page(app: FastAPI) -> None:
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app))
    async with anthropic.AsyncAnthropic(api_key="k", base_url="http://gateway", http_client=http) as sdk:
        found = [model async for model in sdk.models.list(limit=2)]
        assert [model.id for model in found] == IDS
        assert (found[0].display_name, found[0].lifecycle, found[0].created_at.year) == ("a", "active", 1970)
        assert (await sdk.models.retrieve("vllm/qwen/qwen3")).id == "vllm/qwen/qwen3"
