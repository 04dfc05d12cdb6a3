"""Upstreams that speak OpenAI's chat completions: vLLM, Ollama, llama.cpp, OpenAI, OpenRouter, Databricks, ...

A Messages request goes in and a chat request comes out, chat chunks go in and Messages events come out; nothing in
between has an OpenAI shape, which could not hold half of what a request says. Servers differ by data (`Dialect`).
May import the rooms of `gateway.providers` and `gateway.messages`. Must not know routes, keys or clients.
"""

from gateway.providers.chat.dialects import DIALECTS, Dialect, dialect
from gateway.providers.chat.provider import ChatProvider
from gateway.providers.chat.request import ChatRequest, Reading, to_chat
from gateway.providers.chat.stream import ChatStream

__all__ = ["DIALECTS", "ChatProvider", "ChatRequest", "ChatStream", "Dialect", "Reading", "dialect", "to_chat"]
