"""A local guess of a request's input tokens, for upstreams that cannot or do not yet say.

Pure arithmetic: no vocabulary, no file, no network. Knows the request's shape; must not know upstreams,
prices or limits. Leans high on purpose: a context meter that reads low lets a client run into the wall.
`docs/benchmarks.md` states the measured error, `benchmarks/token_estimate.py` measures it.
"""

from gateway.providers.estimate.request import estimate_tokens
from gateway.providers.estimate.text import estimate_text

__all__ = ["estimate_text", "estimate_tokens"]
