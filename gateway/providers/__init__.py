"""Upstreams: whoever samples the model, behind one protocol.

May import `gateway.messages` and nothing else of the gateway. Must not know sessions, tools or sandboxes.
"""
