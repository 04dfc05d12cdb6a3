"""The language of the Messages API: requests, stream events, errors, usage.

Knows bytes and JSON. Must not know HTTP servers, agents, providers or sandboxes: everybody else speaks
through this room, so it imports nothing of the gateway.
"""
