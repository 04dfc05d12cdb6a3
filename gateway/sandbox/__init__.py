"""Sandboxes: where one runs (drivers), how it is reached (channel), what it can do (toolhost).

May import the broker's client and what lies below; must not know tools, the agent or HTTP, and imports nothing of the
program inside the sandbox: docs/toolhost.md is all the two share.
"""
