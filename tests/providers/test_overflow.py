"""A prompt that did not fit is said in the words that make clients shorten it, whoever said it first."""

import json
from typing import Any

import pytest

from gateway.providers.failures import error_from_answer
from gateway.providers.overflow import INPUT_TOO_LONG, overflow_message

BOTH = (
    "input length and `max_tokens` exceed context limit: {} + {} > {}, "
    "decrease input length or `max_tokens` and try again"
)
WORDINGS = [
    # Anthropic, as it is and wrapped
    ("prompt is too long: 203012 tokens > 200000 maximum", "prompt is too long: 203012 tokens > 200000 maximum"),
    ("The model returned the following errors: prompt is too long: 5 tokens > 4 maximum. (code 400)",
     "prompt is too long: 5 tokens > 4 maximum"),
    (BOTH.format(188240, 21333, 200000), BOTH.format(188240, 21333, 200000)),
    # Bedrock, Vertex
    ("Input is too long.", INPUT_TOO_LONG),
    ("Input is too long for requested model.", INPUT_TOO_LONG),
    ("Request payload size exceeds the limit: 31457280 bytes.", INPUT_TOO_LONG),
    ("The request size (31 MB) exceeds the limit", INPUT_TOO_LONG),
    # OpenAI and its like
    ("This model's maximum context length is 128000 tokens. However, your messages resulted in 130012 tokens. "
     "Please reduce the length of the messages.", "prompt is too long: 130012 tokens > 128000 maximum"),
    ("This model's maximum context length is 16384 tokens. However, you requested 122946 tokens (112946 in the "
     "messages, 10000 in the completion). Please reduce.", "prompt is too long: 112946 tokens > 16384 maximum"),
    ("This model's maximum context length is 16384 tokens. However, you requested 20000 tokens (10000 in the "
     "messages, 10000 in the completion). Please reduce the length.", BOTH.format(10000, 10000, 16384)),
    ("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 302512 tokens.",
     "prompt is too long: 302512 tokens > 272000 maximum"),
    ("Your input exceeds the context window of this model. Please adjust your input and try again.",
     "prompt is too long"),
    ("This endpoint's maximum context length is 131072 tokens. However, you requested about 140000 tokens (139000 of "
     "text input, 1000 in the output).", "prompt is too long: 139000 tokens > 131072 maximum"),
    ("This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
     "prompt is too long: 537812 tokens > 131072 maximum"),
    ("Please reduce the length of the messages or completion.", "prompt is too long"),
    ("Please reduce the length of the messages or completion. Current length is 42328 while limit is 40000",
     "prompt is too long: 42328 tokens > 40000 maximum"),
    # Local servers
    ("The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that",
     "prompt is too long: 5000 tokens > 4096 maximum"),
    ("This model's maximum context length is 32768 tokens. However, your request has 40000 input tokens.",
     "prompt is too long: 40000 tokens > 32768 maximum"),
    ("The input (5000 tokens) is longer than the model's context length (4096 tokens).",
     "prompt is too long: 5000 tokens > 4096 maximum"),
    ("Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5000 "
     "tokens: 4500 tokens from the input messages and 500 tokens for the completion.",
     "prompt is too long: 4500 tokens > 4096 maximum"),
    ("request (9000 tokens) exceeds the available context size (4096 tokens), try increasing it",
     "prompt is too long: 9000 tokens > 4096 maximum"),
    ("the request exceeds the available context size. try increasing the context size", "prompt is too long"),
    ("Requested tokens (516) exceed context window of 512", "prompt is too long: 516 tokens > 512 maximum"),
    ("prompt too long; exceeded max context length by 40 tokens", "prompt is too long"),
    # Google, Mistral, others
    ("The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
     "prompt is too long: 1196265 tokens > 1048575 maximum"),
    ("Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
     "prompt is too long: 40000 tokens > 32768 maximum"),
    ("Your request exceeded model token limit: 131072 (requested: 140000)",
     "prompt is too long: 140000 tokens > 131072 maximum"),
    ("too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000.",
     "prompt is too long: 5000 tokens > 4081 maximum"),
    ("The prompt is too long: 5,000, model maximum context length: 4,096",
     "prompt is too long: 5000 tokens > 4096 maximum"),
    ("maximum context length is 5 tokens" + "9" * 5000, "prompt is too long"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "told"), WORDINGS)
def test_every_providers_wording_becomes_the_one_clients_know(said: str, told: str) -> None:
    assert overflow_message(said) == told
    error = error_from_answer(400, {}, json.dumps({"error_code": "BAD_REQUEST", "message": said}).encode())
    assert (error.status, error.type, error.message) == (400, "invalid_request_error", told)


CODED: list[tuple[dict[str, Any], str]] = [
    ({"code": "context_length_exceeded", "message": "too big"}, "prompt is too long"),
    ({"type": "exceed_context_size_error", "message": "x", "n_prompt_tokens": 1407, "n_ctx": 256},
     "prompt is too long: 1407 tokens > 256 maximum"),
    ({"type": "exceed_context_size_error", "message": "x", "n_prompt_tokens": True, "n_ctx": 2}, "prompt is too long"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "told"), CODED)
@pytest.mark.parametrize("status", [400, 413, 500])
def test_codes_and_counts_say_it_too(error: dict[str, Any], told: str, status: int) -> None:
    found = error_from_answer(status, {}, json.dumps({"error": error}).encode())
    assert found.message == told
    assert found.status == (413 if status == 413 else 400)


OTHERS = [
    "messages.3.content.0: text content blocks must be non-empty",
    "max_tokens: 200000 > 64000, which is the maximum allowed number of output tokens for claude-x",
    "Rate limit reached: 40000 input tokens per minute",
    "tools.0.name: String should match pattern",
    "Request too large",
    "The model `x` does not exist",
]


@pytest.mark.parametrize("said", OTHERS)
def test_other_complaints_are_left_alone(said: str) -> None:
    assert overflow_message(said) is None


def test_a_rate_limit_is_no_overflow() -> None:
    body = {
        "error": {
            "message": "Please reduce the length of the messages: tokens per minute",
            "code": "rate_limit_exceeded",
        }
    }
    assert error_from_answer(429, {}, json.dumps(body).encode()).status == 429


def test_numbers_without_an_end_are_cut() -> None:
    told = overflow_message("maximum context length is 5 tokens, requested " + "9" * 5000)
    assert told == f"prompt is too long: {'9' * 15} tokens > 5 maximum"
