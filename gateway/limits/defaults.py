"""The limits of every key that says nothing else, from the settings."""

from __future__ import annotations

from gateway.settings import Settings
from gateway.store.keylimits import KeyLimits

__all__ = ["default_limits"]


def default_limits(settings: Settings) -> KeyLimits:
    """Unset settings set no limit."""
    return KeyLimits(
        requests_per_minute=settings.key_requests_per_minute,
        tokens_per_minute=settings.key_tokens_per_minute,
        tokens_per_day=settings.key_tokens_per_day,
        tokens_per_month=settings.key_tokens_per_month,
        usd_per_day=settings.key_usd_per_day,
        usd_per_month=settings.key_usd_per_month,
        concurrent_requests=settings.key_concurrent_requests,
        models=settings.key_models or None,
    )
