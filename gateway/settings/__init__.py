"""Every setting of the gateway: one typed field each, read from the environment and an optional TOML file.

The lowest layer: imports nothing of the gateway. An empty environment gives a complete configuration; a wrong
value stops the start with one sentence that names the variable (`SettingsError`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ByteSize, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from gateway.settings.fields import Names, setting, variable_of
from gateway.settings.upstream import UpstreamSettings

__all__ = [
    "CONFIG_VARIABLE",
    "KEY_VARIABLE",
    "SECTIONS",
    "DriverChoice",
    "Settings",
    "SettingsError",
    "load_settings",
    "unknown_variables",
    "variable_of",
]

KEY_VARIABLE = "BULKHEAD_API_KEY"
"""The key that commands use which ask a running gateway; no setting of the gateway itself."""

CONFIG_VARIABLE = "BULKHEAD_CONFIG"
"""Names the optional TOML file; its keys are the field names below (`max_steps = 50`)."""

DriverChoice = Literal["docker", "bubblewrap", "auto"]
WorkspaceMode = Literal["bind", "copy"]
Mode = Literal["sandbox", "client"]
LogLevel = Literal["debug", "info", "warning", "error"]
Display = Literal["auto", "on", "off"]

MIB = 1024 * 1024

SECTIONS = {
    "model_provider": "Upstream",
    "prompt_cache_enabled": "Prompt cache",
    "host": "Server",
    "data_dir": "State",
    "mode": "Sandbox",
    "max_steps": "Turn limits",
    "key_requests_per_minute": "Limits",
}
"""The first field of each section of the documentation."""


class SettingsError(ValueError):
    """The configuration cannot be used. The message is one sentence fit for a terminal."""


def _state_directory() -> Path:
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return root / "bulkhead"


class _Environment(PydanticBaseSettingsSource):
    """Reads exactly the documented variables. (The library's own source also reads a variable named like the
    field, such as DISPLAY or HOST.) An empty variable counts as unset."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return os.environ.get(variable_of(field_name)) or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class Settings(UpstreamSettings):
    """Immutable; made once by `load_settings` and handed to the parts that need it."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    prompt_cache_enabled: bool = setting(
        False, "Answer a request that says the same as an earlier one, and runs no tools, from memory."
    )
    prompt_cache_ttl_ms: int = setting(300_000, "How long an answer is kept.", unit="milliseconds", ge=1)
    prompt_cache_max_entries: int = setting(64, "Answers kept at once.", unit="answers", ge=1)
    prompt_cache_max_bytes: ByteSize = setting(
        ByteSize(64 * MIB), "Bytes of all kept answers together.", unit="bytes", gt=0
    )

    host: str = setting("127.0.0.1", "Address the gateway listens on.")
    port: int = setting(8080, "Port the gateway listens on; 0 takes a free one.", ge=0, le=65535)
    max_body_bytes: ByteSize = setting(ByteSize(32 * MIB), "Largest request body accepted.", unit="bytes", gt=0)
    heartbeat_seconds: float = setting(
        25.0,
        "Longest silence on a stream to the client before the gateway sends a sign of life.",
        unit="seconds",
        gt=0,
    )
    log_level: LogLevel = setting("info", "Least severe log line written.")

    data_dir: Path = setting(
        _state_directory,
        "Directory of the database and the key files; made with mode 0700.",
        shown="$XDG_STATE_HOME/bulkhead or ~/.local/state/bulkhead",
    )
    database_url: str | None = setting(
        None, "SQLAlchemy URL of the store; SQLite only so far.", shown="sqlite in the data directory"
    )

    mode: Mode = setting(
        "sandbox",
        "`sandbox` runs side-effecting tools in the sandbox; `client` passes the client's tools back to it.",
    )
    client_tools: Names = setting(
        ("mcp__*",), "Patterns of further tools that may go to the client in mode `sandbox`; comma-separated."
    )
    sandbox_driver: DriverChoice = setting(
        "auto", "What sandboxes are made with; `auto` takes docker where an engine answers, else bubblewrap."
    )
    sandbox_image: str = setting("bulkhead/sandbox-python:latest", "Image of the docker driver's containers.")
    workspace_root: Path = setting(
        Path.cwd,
        "Directory whose contents sandboxes may be given; a key can narrow it.",
        shown="the current directory",
    )
    workspace_mode: WorkspaceMode = setting(
        "bind", "`bind` shows the sandbox the directory itself, `copy` a private copy of it."
    )
    docker_host: str = setting("unix:///var/run/docker.sock", "The engine the broker talks to.")
    broker_socket: Path | None = setting(
        None, "Socket of a broker that already runs; unset, the gateway starts one of its own."
    )
    idle_seconds: float = setting(
        1800.0, "A session without work for so long is closed and its sandbox removed.", unit="seconds", gt=0
    )
    max_sessions: int = setting(
        64,
        "Sessions open at once; past it the longest idle one is closed, and if none is idle opening fails.",
        unit="sessions",
        ge=1,
    )

    max_steps: int = setting(200, "Model calls in one turn.", unit="calls", ge=1)
    max_turn_seconds: float = setting(3600.0, "Wall time of one turn.", unit="seconds", gt=0)
    max_turn_output_tokens: int | None = setting(
        None,
        "Output tokens of all model calls of one turn; unset, no limit but the client's own.",
        unit="tokens",
        ge=1,
    )
    max_repeats: int = setting(
        5, "Identical tool calls in a row before the turn ends with an explanation.", unit="calls", ge=2
    )
    tool_output_bytes: ByteSize = setting(
        ByteSize(64 * MIB), "Output read from one tool call before its process is killed.", unit="bytes", gt=0
    )
    grace_seconds: float = setting(
        5.0,
        "How long a turn goes on after its client went away, so that a retry can join it.",
        unit="seconds",
        ge=0,
    )
    display: Display = setting(
        "auto", "Whether sandboxed calls are shown in the reply text; `auto` shows them to Claude Code."
    )

    key_requests_per_minute: int | None = setting(
        None, "Requests per minute of each key that has no limit of its own.", unit="requests", ge=1, le=10**6
    )
    key_tokens_per_minute: int | None = setting(
        None, "Tokens per minute of each such key; cache reads do not count.", unit="tokens", ge=1, le=10**12
    )
    key_tokens_per_day: int | None = setting(
        None, "Tokens per UTC day of each such key; cache reads do not count.", unit="tokens", ge=1, le=10**15
    )
    key_tokens_per_month: int | None = setting(
        None, "Tokens per UTC month of each such key; cache reads do not count.", unit="tokens", ge=1, le=10**15
    )
    key_usd_per_day: float | None = setting(
        None, "Money per UTC day of each such key.", unit="US dollars", ge=0.000001, le=1e9
    )
    key_usd_per_month: float | None = setting(
        None, "Money per UTC month of each such key.", unit="US dollars", ge=0.000001, le=1e9
    )
    key_concurrent_requests: int | None = setting(
        None, "Requests of each such key at a time.", unit="requests", ge=1, le=10**6
    )
    key_models: Names = setting(
        (), "Patterns of the models that each such key may use; comma-separated. Empty: every one."
    )
    prices_file: Path | None = setting(None, "TOML file of prices that come before the built-in list (docs/limits.md).")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments over environment over file."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, _Environment(settings_cls))
        config = os.environ.get(CONFIG_VARIABLE)
        return (*sources, TomlConfigSettingsSource(settings_cls, toml_file=config)) if config else sources

    @field_validator("database_url")
    @classmethod
    def _is_sqlite(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("sqlite:///", "sqlite+pysqlite:///")):
            raise ValueError("only SQLite is offered yet; use sqlite:////absolute/path.db")
        return value

    @field_validator("data_dir", "workspace_root", "broker_socket", "upstreams", "upstream_ca_file", "prices_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store."""
        return self.database_url or f"sqlite:///{self.data_dir / 'bulkhead.db'}"

    @property
    def audit_key_path(self) -> Path:
        """File of the key that seals the head of the audit log."""
        return self.data_dir / "audit.key"

    def prepare_data_dir(self) -> Path:
        """Make the data directory (0700) if it is missing. Raises `SettingsError`."""
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"BULKHEAD_DATA_DIR: {self.data_dir} cannot be made ({error.strerror}); "
                "name a directory you may write to."
            ) from error
        return self.data_dir


def load_settings(**overrides: Any) -> Settings:
    """Read the environment and the TOML file. `overrides` (field names) win. Raises `SettingsError`."""
    config = os.environ.get(CONFIG_VARIABLE)
    if config and not Path(config).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} names {config}, which is not a file.")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_sentence(error.errors()[0], config)) from None
    except ValueError as error:
        raise SettingsError(f"{CONFIG_VARIABLE}: {config} cannot be read as TOML ({error}).") from error


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """`BULKHEAD_*` names in the environment that no setting reads: most likely misspelt."""
    known = {variable_of(field) for field in Settings.model_fields} | {CONFIG_VARIABLE, KEY_VARIABLE}
    return sorted(name for name in environ if name.startswith("BULKHEAD_") and name not in known)


def _sentence(error: ErrorDetails, config: str | None) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        where = f" in {config}" if config else ""
        return f"{name}{where} is not a setting."
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    if not name:
        return f"{message}."
    variable = variable_of(name) if name in Settings.model_fields else name
    return f"{variable}: {message[:1].lower()}{message[1:]}."
