"""The tools that run in the sandbox: their inputs, their results' texts, and the catalogue of them.

May use the sandbox and its toolhost, audit-free: the agent decides, records and then calls. Names, schemas
and result texts follow Claude Code's built-in tools, so that a model meets what it knows.
"""
