"""HTTP/1.1 to upstreams, for answers that are passed on as they come: an own client on httptools.

Knows sockets, TLS, proxies and framing. Imports nothing of the gateway, and must not know models, credentials
or what a body means. What is not hot (tokens, webhooks, keys) uses httpx instead.
"""

from gateway.providers.wire.client import HttpClient
from gateway.providers.wire.errors import WireError, WireTimeout
from gateway.providers.wire.response import HttpResponse

__all__ = ["HttpClient", "HttpResponse", "WireError", "WireTimeout"]
