"""The HTTP surface and nothing else: routes, credentials, bodies, error envelopes, streams.

Turns requests into calls of the rooms below and their answers into HTTP. Decides nothing about tools,
sandboxes or models.
"""
