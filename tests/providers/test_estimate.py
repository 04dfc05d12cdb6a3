"""The local token estimate: anchored to published counts, growing with its text, deaf to hostile input."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.messages.errors import InvalidRequest
from gateway.messages.request import MessagesRequest
from gateway.providers.estimate import estimate_text, estimate_tokens
from gateway.providers.estimate.media import IMAGE_TOKENS, PAGE_TOKENS, image_tokens, pdf_tokens
from gateway.providers.estimate.text import MODELLED_BYTES


def request(**fields: Any) -> MessagesRequest:
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hello, Claude"}], **fields}
    return MessagesRequest.parse(json.dumps(body).encode())


def of_blocks(*blocks: dict[str, Any]) -> int:
    return estimate_tokens(request(messages=[{"role": "user", "content": list(blocks)}]))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


WEATHER = {
    "name": "get_weather",
    "description": "Get the current weather in a given location",
    "input_schema": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
        },
        "required": ["location"],
    },
}


# The counts on the right are what the vendor's published vocabulary says.
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("def add(a: int, b: int) -> int:\n    return a + b\n", 20),
        ("如果你想要一个更好的结果，请再试一次。", 15),
        ("Мы не можем открыть этот файл.", 13),
        ("drwxr-xr-x  2 root root  4096 Nov 22 10:54 bin\n", 20),
        ('{"type":"object","properties":{"location":{"type":"string"}},"required":["location"]}', 18),
        ("مرحبا بالعالم", 10),
    ],
)
def test_an_estimate_lies_near_the_true_count_and_rather_above_it(text: str, tokens: int) -> None:
    assert tokens <= estimate_text(text) <= tokens * 1.3


def test_a_request_costs_about_what_the_vendor_documents() -> None:
    assert 14 <= estimate_tokens(request(system="You are a scientist")) <= 18
    weather = request(
        tools=[WEATHER], messages=[{"role": "user", "content": "What's the weather like in San Francisco?"}]
    )
    assert 403 <= estimate_tokens(weather) <= 460


def test_nothing_costs_nothing() -> None:
    assert estimate_text("") == 0


@given(st.text(), st.text())
@settings(max_examples=200, deadline=None)
def test_adding_text_never_lowers_the_estimate(text: str, more: str) -> None:
    assert estimate_text(text + more) >= estimate_text(text)
    assert estimate_text(text + more) >= estimate_text(more)


@given(st.text(), st.text())
@settings(max_examples=200, deadline=None)
def test_two_texts_together_cost_what_they_cost_apart_but_for_the_seam(text: str, more: str) -> None:
    apart = estimate_text(text) + estimate_text(more)
    assert apart - 6 <= estimate_text(text + "\n" + more) <= apart + 6


@given(st.text(st.characters(), max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_text_costs_more_tokens_than_it_has_bytes_and_a_few(text: str) -> None:
    assert estimate_text(text) <= 2 * len(text.encode("utf-8", "surrogatepass")) + 1


def test_lone_surrogates_are_counted() -> None:
    assert estimate_text("half a face: \ud83d") > estimate_text("half a face:")


def test_a_text_past_any_context_window_still_grows() -> None:
    text = "word " * (MODELLED_BYTES // 5 + 1)
    assert estimate_text(text + "more " * 1000) >= estimate_text(text) + 1000


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(
    [
        "text",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "server_tool_use",
        "tool_result",
        "mcp_tool_result",
        "tool_reference",
        "search_result",
        "web_search_tool_result",
        "image",
        "document",
        "container_upload",
        "block_of_tomorrow",
    ]
)
FIELDS = st.sampled_from(
    ["text", "thinking", "signature", "data", "name", "input", "content", "source", "title", "tool_name", "other"]
)
BLOCKS = st.builds(
    lambda kind, fields: {**fields, "type": kind},
    TYPES,
    st.dictionaries(FIELDS, VALUES, max_size=5),
)


@given(st.lists(BLOCKS, max_size=5), st.lists(BLOCKS, max_size=2), VALUES)
@settings(max_examples=200, deadline=None)
def test_any_block_with_any_fields_is_counted(blocks: list[dict[str, Any]], inner: list[Any], schema: object) -> None:
    nested = {"type": "tool_result", "tool_use_id": "t", "content": inner}
    parsed = request(
        messages=[{"role": "user", "content": [*blocks, nested]}],
        tools=[{"name": "t", "description": schema, "input_schema": schema, "defer_loading": schema}],
    )
    assert estimate_tokens(parsed) > 0


def test_what_cannot_be_decoded_is_counted_as_it_stands() -> None:
    body = (
        b'{"model":"m","max_tokens":1,"system":[{"type":"text","text":"words","n":1e999}],'
        b'"tools":[{"name":"t","input_schema":{"maximum":1e999}}],'
        b'"messages":[{"role":"user","content":[{"type":"text","text":"some words and more","n":1e999}]}]}'
    )
    parsed = MessagesRequest.parse(body)
    with pytest.raises(InvalidRequest):
        _ = parsed.messages[0].blocks[0].data
    assert estimate_tokens(parsed) > 346 + estimate_text("words some words and more")


def test_blocks_nested_without_end_are_counted_by_their_json() -> None:
    block: dict[str, Any] = {"type": "text", "text": "deep " * 50}
    for _ in range(60):
        block = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    assert of_blocks(block) > 50


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": "WORDS"},
        {"type": "thinking", "thinking": "WORDS", "signature": "s" * 900},
        {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "WORDS"}},
        {"type": "tool_result", "tool_use_id": "t", "content": "WORDS"},
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "WORDS"}]},
        {"type": "search_result", "title": "t", "source": "s", "content": [{"type": "text", "text": "WORDS"}]},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "WORDS"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "WORDS"}]}},
        {"type": "block_of_tomorrow", "payload": {"text": "WORDS"}},
    ],
    ids=lambda block: str(block["type"]),
)
def test_the_words_of_every_kind_of_block_count(block: dict[str, Any]) -> None:
    def holding(words: int) -> int:
        return of_blocks(json.loads(json.dumps(block).replace("WORDS", "word " * words)))

    assert 90 <= holding(200) - holding(100) <= 130


def test_sealed_thinking_counts_by_the_length_of_its_seal() -> None:
    short, long = (of_blocks({"type": "thinking", "thinking": "", "signature": "s" * size}) for size in (600, 6000))
    assert 800 <= long - short <= 1000
    shown = of_blocks({"type": "thinking", "thinking": "A thought.", "signature": "s" * 6000})
    assert shown < 40


def test_ids_and_cache_marks_are_free() -> None:
    plain = of_blocks({"type": "tool_result", "tool_use_id": "t", "content": "done"})
    marked = of_blocks(
        {"type": "tool_result", "tool_use_id": "t" * 400, "content": "done", "cache_control": {"type": "ephemeral"}}
    )
    assert plain == marked


def test_a_deferred_tool_is_free_until_a_reference_names_it() -> None:
    deferred = {**WEATHER, "defer_loading": True}
    reference = {"type": "tool_reference", "tool_name": "get_weather"}
    named = [{"type": "tool_result", "tool_use_id": "t", "content": [reference]}]
    with_reference = request(tools=[deferred], messages=[{"role": "user", "content": named}])
    assert estimate_tokens(request(tools=[deferred])) == estimate_tokens(request())
    assert estimate_tokens(with_reference) > estimate_tokens(request(tools=[WEATHER]))


def test_tools_of_the_api_itself_cost_their_published_tokens() -> None:
    bash = estimate_tokens(request(tools=[{"type": "bash_20250124", "name": "bash"}]))
    assert bash - estimate_tokens(request()) == 346 + 245


def png(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def jpeg(width: int, height: int) -> bytes:
    application = b"\xff\xe0" + struct.pack(">H", 1002) + b"x" * 1000
    return b"\xff\xd8" + application + b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\0" * 9


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0" * 6


def webp_extended(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + size


def webp_lossless(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return b"RIFF\0\0\0\0WEBPVP8L" + struct.pack("<I", 5) + b"\x2f" + struct.pack("<I", bits)


def webp_lossy(width: int, height: int) -> bytes:
    return b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", width, height)


@pytest.mark.parametrize("make", [png, jpeg, gif, webp_extended, webp_lossless, webp_lossy])
def test_an_image_costs_its_pixels(make: Any) -> None:
    assert image_tokens(b64(make(750, 600))) == 600
    assert image_tokens(b64(make(1, 1))) == 1


def test_a_large_image_costs_what_its_scaled_form_costs() -> None:
    assert image_tokens(b64(png(15680, 1568))) == round(1568 * 156.8 / 750)
    assert image_tokens(b64(png(8000, 8000))) == IMAGE_TOKENS


@pytest.mark.parametrize("data", ["", "!!!", "AAAA", b64(b"\xff\xd8\xff"), b64(b"\x89PNG"), b64(png(0, 5))])
def test_an_image_of_unknown_size_costs_the_most(data: str) -> None:
    assert image_tokens(data) == IMAGE_TOKENS


@given(st.sampled_from([b"", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF\0\0\0\0WEBPVP8"]), st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_image_breaks_the_reader(head: bytes, rest: bytes) -> None:
    assert 1 <= image_tokens(b64(head + rest)) <= IMAGE_TOKENS


def test_an_image_block_is_priced_by_its_pixels_also_in_a_result() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64(png(750, 600))}}
    bare = of_blocks({"type": "text", "text": "x"})
    assert of_blocks({"type": "text", "text": "x"}, image) - bare == 600
    without = of_blocks({"type": "tool_result", "tool_use_id": "t", "content": []})
    assert of_blocks({"type": "tool_result", "tool_use_id": "t", "content": [image]}) - without == 600


def test_a_pdf_costs_its_pages() -> None:
    page = b"<< /Type /Page /Parent 1 0 R >>\n"
    assert pdf_tokens(b64(b"%PDF-1.7\n<< /Type /Pages /Kids [] >>\n" + page * 3)) == 3 * PAGE_TOKENS
    assert pdf_tokens(b64(b"%PDF-1.7\n<< /Type /Pages /Count 12 >>\n" + page)) == 12 * PAGE_TOKENS


def test_a_pdf_whose_pages_are_hidden_costs_its_bytes() -> None:
    assert pdf_tokens(b64(b"%PDF-1.7\n" + b"\0" * 120_000)) == 3 * PAGE_TOKENS
    assert pdf_tokens("") == PAGE_TOKENS


def test_a_pdf_cannot_claim_pages_without_end() -> None:
    assert pdf_tokens(b64(b"/Count 999999")) == 600 * PAGE_TOKENS
