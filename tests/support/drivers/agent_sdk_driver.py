"""One query of the Claude Agent SDK: `agent_sdk_driver.py PROMPT MODEL`, one JSON line for each message.

Runs with the SDK's own packages only; must not import the project.
"""

import asyncio
import dataclasses
import json
import sys

from claude_agent_sdk import ClaudeAgentOptions, query  # type: ignore[import-not-found]


async def main(prompt: str, model: str) -> None:
    """Writes what the SDK yields."""
    options = ClaudeAgentOptions(model=model, setting_sources=[])
    async for message in query(prompt=prompt, options=options):
        told = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
        print(json.dumps({"kind": type(message).__name__, **told}, default=str), flush=True)


asyncio.run(main(*sys.argv[1:3]))
