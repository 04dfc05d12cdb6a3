"""Finished answers kept in memory, for requests that run no tools and are asked again.

May import messages. Must not know HTTP routes, turns, keys of callers or upstreams: it gets their names as text.
"""

from gateway.cache.decision import REASONS, CacheDecision, decide
from gateway.cache.key import cache_key
from gateway.cache.prompt_cache import CacheStats, Hit, Place, PromptCache

__all__ = ["REASONS", "CacheDecision", "CacheStats", "Hit", "Place", "PromptCache", "cache_key", "decide"]
