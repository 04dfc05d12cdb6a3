"""One gateway over one fake upstream of each dialect, all playing the same conversation.

The gateway reads them from an upstreams file; model `claude-on-NAME` is the one behind the dialect NAME.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.support.fake_upstream import FakeUpstream
from tests.support.gateway import Gateway
from tests.upstreams.dialects import DIALECTS
from tests.upstreams.issued_tokens import CLIENT_ID, CLIENT_SECRET

__all__ = ["DIALECT_NAMES", "PROMPT", "THOUGHT", "Matrix", "answer_on", "model_on"]

Json = dict[str, Any]

DIALECT_NAMES = tuple(sorted(DIALECTS))
PROMPT = "do the work"
THOUGHT = "I need the shell for this."
SECRET = "secret-of-the-upstream"

_EACH: Json = {"attempts": 1, "breaker_failures": 0}
"""A fault is told at once, and one test's faults are not another's."""
_SECRET: Json = {"credential": {"env": "UPSTREAM_SECRET"}}
_OAUTH: Json = {"client_id": CLIENT_ID, "client_secret": {"env": "UPSTREAM_CLIENT_SECRET"}}
_ENTRIES: dict[str, Json] = {
    "anthropic": {"kind": "anthropic", **_SECRET},
    "azure": {
        "kind": "azure",
        "url": "{url}/anthropic",
        "oauth": {**_OAUTH, "token_url": "{url}/tenant/oauth2/v2.0/token"},
    },
    "azure-hosted": {
        "kind": "azure",
        "url": "{url}/anthropic/v1/messages",
        "hosted_on_azure": True,
        "credential": {"env": "UPSTREAM_SECRET", "scheme": "api-key"},
    },
    "databricks-anthropic": {"kind": "databricks", "oauth": _OAUTH},
    "databricks-chat": {"kind": "databricks", "path": "/serving-endpoints/chat/completions", **_SECRET},
    "databricks-invocations": {
        "kind": "databricks",
        "path": "/serving-endpoints/our-claude/invocations",
        "dialect": "databricks-claude",
        "credential": {"env": "UPSTREAM_SECRET", "scheme": "basic"},
    },
    "openai": {"kind": "openai", "url": "{url}/v1", "dialect": "openai", **_SECRET},
    "vllm": {"kind": "openai", "dialect": "vllm"},
    "ollama": {"kind": "openai", "url": "{url}/v1/chat/completions", "dialect": "ollama"},
    "llamacpp": {"kind": "openai", "dialect": "llama.cpp"},
    "openrouter": {"kind": "openai", "url": "{url}/api/v1", "dialect": "openrouter", **_SECRET},
    "mistral": {"kind": "openai", "dialect": "mistral", **_SECRET},
}
"""What the upstreams file says of each; `url` is the server's own where it is not given."""

_CLAUDE = "databricks-claude-sonnet-4-5"
_MODELS = {"openai": "gpt-5", "mistral": "mistral-large", "databricks-anthropic": _CLAUDE, "databricks-chat": _CLAUDE}


def model_on(dialect: str) -> str:
    """The name by which clients ask for the model."""
    return f"claude-on-{dialect}"


def answer_on(dialect: str) -> str:
    """What the conversation ends with, when its call ran in a sandbox."""
    return f"It said: inside=sandbox uid=10001 on={dialect}"


def conversation(dialect: str) -> Json:
    """Thinking, words and a call; then an answer that tells what the call printed."""
    command = f"echo inside=$(hostname) uid=$(id -u) on={dialect}"
    use = {"tool_use": {"name": "Bash", "input": {"command": command}}}
    result = {"last_tool_result": {"contains": f"on={dialect}"}}
    turns: list[Json] = [
        {"blocks": [{"thinking": THOUGHT}, {"text": "I look around."}, use]},
        {"text": "It said: ${last_tool_result}", "expect": result},
    ]
    return {"name": "work", "match": {"user": PROMPT}, "turns": turns}


class Matrix:
    """The running processes. `more`: further conversations of every upstream."""

    def __init__(self, folder: Path, workspace_root: Path, *more: Json) -> None:
        self.upstreams = {
            name: FakeUpstream(
                name,
                {"conversations": [*more, conversation(name)], "models": ["served-model"]},
                folder / name,
                *(["--secret", SECRET] if not DIALECTS[name].anonymous else []),
            )
            for name in DIALECT_NAMES
        }
        try:
            self.gateway = self._gateway(folder, workspace_root)
        except BaseException:
            self._stop_upstreams()
            raise

    def _gateway(self, folder: Path, workspace_root: Path) -> Gateway:
        file = folder / "upstreams.yaml"
        file.write_text(yaml.safe_dump(self._file()), encoding="utf-8")
        return Gateway(
            folder / "gateway",
            "http://127.0.0.1:9",
            workspace_root,
            BULKHEAD_UPSTREAMS=str(file),
            BULKHEAD_GRACE_SECONDS="1.5",
            UPSTREAM_SECRET=SECRET,
            UPSTREAM_CLIENT_SECRET=CLIENT_SECRET,
        )

    def _file(self) -> Json:
        entries: Json = {}
        models: Json = {}
        for name, upstream in self.upstreams.items():
            entries[name] = _filled({"url": "{url}", **_EACH, **_ENTRIES[name]}, upstream.url)
            models[model_on(name)] = {"upstream": name, "model": _MODELS.get(name, "served-model")}
        return {"upstreams": entries, "models": models}

    def asked(self, dialect: str, who: str) -> list[Json]:
        """Bodies of the model calls that one upstream got for the prompt of `who`, in order."""
        return [body for body in self.upstreams[dialect].asked("work") if f"{PROMPT}, says {who}" in str(body)]

    def stop(self) -> list[str]:
        """End everything; what was refused or ended badly."""
        status = self.gateway.stop()
        refused = [f"{name}: {text}" for name, one in self.upstreams.items() for text in one.refused()]
        self._stop_upstreams()
        return refused + ([] if status == 0 else [self.gateway.process.stderr])

    def _stop_upstreams(self) -> None:
        for upstream in self.upstreams.values():
            upstream.stop()


def _filled(value: Any, url: str) -> Any:
    if isinstance(value, dict):
        return {name: _filled(item, url) for name, item in value.items()}
    return value.replace("{url}", url) if isinstance(value, str) else value
