"""A model that says what a scenario file tells it to, in the true wire format over a real socket.

Stands in for the one thing tests cannot have, the paid upstream. Runs as its own process:
`python -m gateway.providers.scripted --scenario FILE`. The file format is documented in docs/scenarios.md.
"""
