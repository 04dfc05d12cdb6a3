"""Who is let in, who is not, and in which words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from standing_clock import Clock

from gateway.limits.admission import Admission
from gateway.limits.bucket import DEBT_MINUTES
from gateway.limits.ledger import UsageLedger
from gateway.limits.prices import Prices
from gateway.messages.errors import ApiError
from gateway.store.keylimits import UNLIMITED, KeyLimits
from gateway.store.keys import Principal

MODEL = "claude-opus-4-8"
Holder = Callable[..., Principal]


def refused(admission: Admission, principal: Principal, model: str = MODEL) -> ApiError:
    with pytest.raises(ApiError) as caught:
        admission.admit(principal, model)
    return caught.value


def spend(admission: Admission, principal: Principal, **usage: Any) -> None:
    with admission.admit(principal, MODEL) as ticket:
        ticket.use(MODEL, usage)


def test_a_key_without_limits_is_always_let_in_and_told_nothing(admission: Admission, holder: Holder) -> None:
    tickets = [admission.admit(holder(), MODEL) for _ in range(1000)]
    assert dict(tickets[-1].headers) == {}


@pytest.mark.parametrize(
    ("patterns", "model", "allowed"),
    [
        (None, "anything", True),
        (("*",), "anything", True),
        (("claude-haiku-*",), "claude-haiku-4-5", True),
        (("claude-haiku-*",), "claude-opus-4-8", False),
        (("gpt-*", "claude-opus-4-8"), "claude-opus-4-8", True),
        (("claude-opus-4-8",), "claude-opus-4-80", False),
        (("claude-*",), "Claude-opus", False),
        (("a*",), "a" * 10_000, False),
    ],
)
def test_a_key_may_use_the_models_its_patterns_name(
    admission: Admission, holder: Holder, patterns: tuple[str, ...] | None, model: str, allowed: bool
) -> None:
    principal = holder(models=patterns)
    assert admission.allows(principal, model) is allowed
    assert admission.allows(principal, model) is allowed, "the remembered answer is the same"
    if allowed:
        admission.admit(principal, model).close()
        return
    error = refused(admission, principal, model)
    assert (error.status, error.type, error.headers["x-should-retry"]) == (400, "invalid_request_error", "false")
    assert error.message.startswith("model: ") and len(error.message) < 500


def test_requests_per_minute_are_refused_with_the_seconds_to_wait(
    admission: Admission, holder: Holder, clock: Clock
) -> None:
    principal = holder(requests_per_minute=6)
    for rest in (5, 4, 3, 2, 1, 0):
        ticket = admission.admit(principal, MODEL)
        assert ticket.headers["anthropic-ratelimit-requests-remaining"] == str(rest)
        ticket.close()
    error = refused(admission, principal)
    assert (error.status, error.type) == (429, "rate_limit_error")
    assert error.headers == {
        "anthropic-ratelimit-requests-limit": "6",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-11-22T12:01:00Z",
        "retry-after": "10",
    }
    assert "6 requests per minute" in error.message and "10 seconds" in error.message
    clock.now += 9.9
    refused(admission, principal)
    clock.now += 0.1
    admission.admit(principal, MODEL).close()
    refused(admission, principal)


def test_a_full_minute_of_silence_gives_back_a_full_minute_and_no_more(
    admission: Admission, holder: Holder, clock: Clock
) -> None:
    principal = holder(requests_per_minute=3)
    for _ in range(2):
        for _ in range(3):
            admission.admit(principal, MODEL).close()
        refused(admission, principal)
        clock.now += 86_400


def test_a_clock_that_steps_back_gives_nothing_and_takes_nothing(
    admission: Admission, holder: Holder, clock: Clock
) -> None:
    principal = holder(requests_per_minute=2)
    admission.admit(principal, MODEL).close()
    clock.now -= 1000
    admission.admit(principal, MODEL).close()
    refused(admission, principal)


def test_tokens_per_minute_are_paid_afterwards_and_waited_for(
    admission: Admission, holder: Holder, clock: Clock
) -> None:
    principal = holder(tokens_per_minute=6000)
    spend(admission, principal, input_tokens=5000, cache_creation_input_tokens=500, output_tokens=500)
    error = refused(admission, principal)
    assert (error.type, error.headers["retry-after"]) == ("rate_limit_error", "1")
    clock.now += 1
    ticket = admission.admit(principal, MODEL)
    assert ticket.headers["anthropic-ratelimit-tokens-limit"] == "6000"
    assert ticket.headers["anthropic-ratelimit-tokens-remaining"] == "100"
    assert ticket.headers["anthropic-ratelimit-tokens-reset"] == "2026-11-22T12:01:00Z"


def test_cache_reads_do_not_count_towards_limits(admission: Admission, holder: Holder) -> None:
    principal = holder(tokens_per_minute=100, tokens_per_day=100)
    spend(admission, principal, input_tokens=1, output_tokens=1, cache_read_input_tokens=1_000_000)
    admission.admit(principal, MODEL).close()


def test_a_long_wait_is_told_truly_but_the_client_is_kept_waiting(
    admission: Admission, holder: Holder, clock: Clock
) -> None:
    principal = holder(tokens_per_minute=1000)
    spend(admission, principal, input_tokens=6000)
    error = refused(admission, principal)
    assert error.headers["retry-after"] == "60", "Claude Code gives up at 61"
    assert "about 5 minutes" in error.message


def test_one_absurd_report_does_not_lock_a_key_for_days(admission: Admission, holder: Holder, clock: Clock) -> None:
    principal = holder(tokens_per_minute=10)
    spend(admission, principal, input_tokens=10**12)
    clock.now += (DEBT_MINUTES + 1) * 60
    admission.admit(principal, MODEL).close()


def test_a_refused_request_uses_nothing_up(admission: Admission, holder: Holder, clock: Clock) -> None:
    principal = holder(requests_per_minute=2, concurrent_requests=1)
    ticket = admission.admit(principal, MODEL)
    for _ in range(50):
        refused(admission, principal)
    ticket.close()
    admission.admit(principal, MODEL).close()


def test_so_many_requests_at_a_time(admission: Admission, holder: Holder) -> None:
    principal = holder(concurrent_requests=2)
    first, second = admission.admit(principal, MODEL), admission.admit(principal, MODEL)
    error = refused(admission, principal)
    assert (error.status, error.type, error.headers["retry-after"]) == (429, "rate_limit_error", "1")
    assert "2 requests running at a time" in error.message
    admission.admit(holder("k2", concurrent_requests=1), MODEL).close()
    first.close()
    first.close()
    admission.admit(principal, MODEL)
    refused(admission, principal)
    assert second.headers == {}


async def test_a_cancelled_request_frees_its_place(admission: Admission, holder: Holder) -> None:
    principal = holder(concurrent_requests=3)
    entered = asyncio.Semaphore(0)

    async def request() -> None:
        with admission.admit(principal, MODEL):
            entered.release()
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(request()) for _ in range(3)]
    for _ in tasks:
        await entered.acquire()
    assert admission.active == 3
    refused(admission, principal)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert admission.active == 0


@pytest.mark.parametrize(
    ("limits", "amounts", "period", "resets"),
    [
        ({"usd_per_day": 5}, "5.00 of 5.00 USD", "2026-11-22", "2026-11-23"),
        ({"usd_per_month": 4}, "5.00 of 4.00 USD", "November 2026", "2026-12-01"),
        ({"tokens_per_day": 1_000_000}, "1,000,000 of 1,000,000 tokens", "2026-11-22", "2026-11-23"),
        ({"tokens_per_month": 900_000}, "1,000,000 of 900,000 tokens", "November 2026", "2026-12-01"),
    ],
)
def test_a_used_up_budget_ends_the_clients_retries(
    admission: Admission,
    holder: Holder,
    clock: Clock,
    limits: dict[str, float],
    amounts: str,
    period: str,
    resets: str,
) -> None:
    principal = holder(**limits)
    spend(admission, principal, input_tokens=1_000_000)
    error = refused(admission, principal)
    assert (error.status, error.type) == (429, "billing_error")
    assert error.details == {"error_code": "enforced_spend_limit_reached"}
    assert error.headers["x-should-retry"] == "false"
    wait = int(error.headers["retry-after"])
    assert wait == int(error.headers["anthropic-ratelimit-unified-reset"]) - int(clock.now)
    assert error.headers["anthropic-ratelimit-unified-status"] == "rejected"
    assert error.headers["anthropic-ratelimit-unified-overage-disabled-reason"] == "org_spend_cap_reached"
    assert not {name for name in error.headers if name.endswith(("representative-claim", "overage-status"))}
    for part in (amounts, period, f"{resets} at 00:00 UTC", "k1-name"):
        assert part in error.message
    clock.now += wait - 1
    refused(admission, principal)
    clock.now += 1
    admission.admit(principal, MODEL).close()


def test_the_new_day_does_not_give_back_the_month(admission: Admission, holder: Holder, clock: Clock) -> None:
    principal = holder(usd_per_day=5, usd_per_month=8)
    spend(admission, principal, input_tokens=1_000_000)
    assert "2026-11-22" in refused(admission, principal).message
    clock.now += 86_400
    spend(admission, principal, input_tokens=1_000_000)
    assert "November 2026" in refused(admission, principal).message


@pytest.mark.parametrize(
    ("tokens", "status", "share", "threshold"),
    [
        (0, "allowed", "0", None),
        (149_999, "allowed", "0.7499", None),
        (150_000, "allowed_warning", "0.75", "0.75"),
        (190_000, "allowed_warning", "0.95", "0.95"),
        (1_000_000, "allowed_warning", "0.9999", "0.95"),
    ],
)
def test_a_key_with_a_budget_is_told_its_standing(
    admission: Admission, holder: Holder, tokens: int, status: str, share: str, threshold: str | None
) -> None:
    principal = holder(usd_per_month=1, tokens_per_day=10_000_000)
    with admission.admit(principal, MODEL) as ticket:
        ticket.use(MODEL, {"input_tokens": tokens})
        headers = {name.removeprefix("anthropic-ratelimit-unified-"): value for name, value in ticket.headers.items()}
    assert (headers["status"], headers["overage-status"]) == (status, status)
    assert headers["overage-utilization"] == share
    assert headers["representative-claim"] == "overage"
    assert headers.get("overage-surpassed-threshold") == threshold
    if tokens:
        assert headers["reset"] == headers["overage-reset"] == "1796083200", "the first of December"


def test_defaults_hold_for_keys_that_say_nothing_and_are_overridden_by_those_that_do(
    ledger: UsageLedger, holder: Holder, clock: Clock
) -> None:
    defaults = KeyLimits(requests_per_minute=1, models=("claude-*",))
    admission = Admission(defaults, Prices.load(), ledger, clock=clock)
    plain, generous = holder("plain"), holder("generous", requests_per_minute=UNLIMITED, models=("*",))
    admission.admit(plain, MODEL).close()
    assert refused(admission, plain).headers["anthropic-ratelimit-requests-limit"] == "1"
    assert refused(admission, plain, "gpt").status == 400
    for _ in range(5):
        admission.admit(generous, "gpt").close()


def test_changed_limits_count_from_the_next_request_and_keep_what_was_used(
    admission: Admission, holder: Holder
) -> None:
    for _ in range(4):
        admission.admit(holder(requests_per_minute=4), MODEL).close()
    refused(admission, holder(requests_per_minute=4))
    raised = holder(requests_per_minute=6)
    for _ in range(2):
        admission.admit(raised, MODEL).close()
    refused(admission, raised)
    refused(admission, holder(requests_per_minute=2))
    admission.admit(holder(), MODEL).close()


def test_running_requests_count_when_a_limit_is_set(admission: Admission, holder: Holder) -> None:
    ticket = admission.admit(holder(), MODEL)
    refused(admission, holder(concurrent_requests=1))
    ticket.close()
    admission.admit(holder(concurrent_requests=1), MODEL).close()


def test_models_on_the_list_of_another_key_are_not_remembered_for_this_one(
    admission: Admission, holder: Holder
) -> None:
    assert admission.allows(holder("a", models=("x",)), "x")
    assert not admission.allows(holder("b", models=("y",)), "x")
