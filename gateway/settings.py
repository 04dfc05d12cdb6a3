"""Every setting of the gateway: one typed field each, read from the environment and an optional TOML file.

The lowest layer: imports nothing of the gateway. An empty environment gives a complete configuration; a wrong
value stops the start with one sentence that names the variable (`SettingsError`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

KEY_VARIABLE = "BULKHEAD_API_KEY"
"""The key that commands use which ask a running gateway; no setting of the gateway itself."""

CONFIG_VARIABLE = "BULKHEAD_CONFIG"
"""Names the optional TOML file; its keys are the field names below (`max_steps = 50`)."""

Provider = Literal["anthropic", "azure-anthropic"]
AuthScheme = Literal["x-api-key", "bearer", "api-key"]
DriverChoice = Literal["docker", "bubblewrap", "auto"]
WorkspaceMode = Literal["bind", "copy"]
Mode = Literal["sandbox", "client"]
LogLevel = Literal["debug", "info", "warning", "error"]
Display = Literal["auto", "on", "off"]

MIB = 1024 * 1024

SECTIONS = {
    "model_provider": "Upstream",
    "host": "Server",
    "data_dir": "State",
    "mode": "Sandbox",
    "max_steps": "Turn limits",
}
"""The first field of each section of the documentation."""

_UNPREFIXED = frozenset(
    {
        "model_provider",
        "anthropic_api_key",
        "anthropic_endpoint",
        "anthropic_auth_scheme",
        "azure_anthropic_endpoint",
        "azure_anthropic_api_key",
        "azure_anthropic_version",
        "workspace_root",
        "port",
        "docker_host",
    }
)
"""Fields whose variable is the field's name in capitals; every other one's begins with `BULKHEAD_`."""


class SettingsError(ValueError):
    """The configuration cannot be used. The message is one sentence fit for a terminal."""


def _setting(default: Any, description: str, *, unit: str = "", shown: str = "", **limits: Any) -> Any:
    """A field; `shown` is the default as documentation says it, where it is computed."""
    source = {"default_factory": default} if callable(default) else {"default": default}
    return Field(**source, description=description, json_schema_extra={"unit": unit, "shown": shown}, **limits)


def _split(value: object) -> object:
    """`a, b` from the environment becomes a list; TOML brings lists of its own."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


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


class Settings(BaseSettings):
    """Immutable; made once by `load_settings` and handed to the parts that need it."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    model_provider: Provider = _setting("anthropic", "Which upstream answers model requests.")
    anthropic_api_key: SecretStr | None = _setting(None, "Credential for the `anthropic` provider.")
    anthropic_endpoint: str = _setting(
        "https://api.anthropic.com",
        "Base URL, or the full URL of the messages endpoint, of the `anthropic` provider.",
    )
    anthropic_auth_scheme: AuthScheme = _setting(
        "x-api-key", "How the credential is sent: a header of that name, or `Authorization: Bearer`."
    )
    azure_anthropic_endpoint: str | None = _setting(
        None, "Base URL, or the full URL of the messages endpoint, of the `azure-anthropic` provider."
    )
    azure_anthropic_api_key: SecretStr | None = _setting(None, "Credential for the `azure-anthropic` provider.")
    azure_anthropic_version: str = _setting("2023-06-01", "Value of the `anthropic-version` header sent to Azure.")
    models: Names = _setting(
        (), "Models on offer, comma-separated; others are refused. Empty: what the upstream offers."
    )
    upstream_timeout_seconds: float = _setting(
        600.0, "Longest silence of the upstream before its request counts as failed.", unit="seconds", gt=0
    )

    host: str = _setting("127.0.0.1", "Address the gateway listens on.")
    port: int = _setting(8080, "Port the gateway listens on; 0 takes a free one.", ge=0, le=65535)
    max_body_bytes: ByteSize = _setting(ByteSize(32 * MIB), "Largest request body accepted.", unit="bytes", gt=0)
    heartbeat_seconds: float = _setting(
        25.0,
        "Longest silence on a stream to the client before the gateway sends a sign of life.",
        unit="seconds",
        gt=0,
    )
    log_level: LogLevel = _setting("info", "Least severe log line written.")

    data_dir: Path = _setting(
        _state_directory,
        "Directory of the database and the key files; made with mode 0700.",
        shown="$XDG_STATE_HOME/bulkhead or ~/.local/state/bulkhead",
    )
    database_url: str | None = _setting(
        None, "SQLAlchemy URL of the store; SQLite only so far.", shown="sqlite in the data directory"
    )

    mode: Mode = _setting(
        "sandbox",
        "`sandbox` runs side-effecting tools in the sandbox; `client` passes the client's tools back to it.",
    )
    client_tools: Names = _setting(
        ("mcp__*",), "Patterns of further tools that may go to the client in mode `sandbox`; comma-separated."
    )
    sandbox_driver: DriverChoice = _setting(
        "auto", "What sandboxes are made with; `auto` takes docker where an engine answers, else bubblewrap."
    )
    sandbox_image: str = _setting("bulkhead/sandbox-python:latest", "Image of the docker driver's containers.")
    workspace_root: Path = _setting(
        Path.cwd,
        "Directory whose contents sandboxes may be given; a key can narrow it.",
        shown="the current directory",
    )
    workspace_mode: WorkspaceMode = _setting(
        "bind", "`bind` shows the sandbox the directory itself, `copy` a private copy of it."
    )
    docker_host: str = _setting("unix:///var/run/docker.sock", "The engine the broker talks to.")
    broker_socket: Path | None = _setting(
        None, "Socket of a broker that already runs; unset, the gateway starts one of its own."
    )
    idle_seconds: float = _setting(
        1800.0, "A session without work for so long is closed and its sandbox removed.", unit="seconds", gt=0
    )
    max_sessions: int = _setting(
        64,
        "Sessions open at once; past it the longest idle one is closed, and if none is idle opening fails.",
        unit="sessions",
        ge=1,
    )

    max_steps: int = _setting(200, "Model calls in one turn.", unit="calls", ge=1)
    max_turn_seconds: float = _setting(3600.0, "Wall time of one turn.", unit="seconds", gt=0)
    max_turn_output_tokens: int | None = _setting(
        None,
        "Output tokens of all model calls of one turn; unset, no limit but the client's own.",
        unit="tokens",
        ge=1,
    )
    max_repeats: int = _setting(
        5, "Identical tool calls in a row before the turn ends with an explanation.", unit="calls", ge=2
    )
    tool_output_bytes: ByteSize = _setting(
        ByteSize(64 * MIB), "Output read from one tool call before its process is killed.", unit="bytes", gt=0
    )
    grace_seconds: float = _setting(
        5.0,
        "How long a turn goes on after its client went away, so that a retry can join it.",
        unit="seconds",
        ge=0,
    )
    display: Display = _setting(
        "auto", "Whether sandboxed calls are shown in the reply text; `auto` shows them to Claude Code."
    )

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

    @field_validator("model_provider", mode="before")
    @classmethod
    def _offered(cls, value: object) -> object:
        offered = get_args(Provider)
        if isinstance(value, str) and value not in offered:
            raise ValueError(f"{value!r} is not offered yet; choose one of {', '.join(offered)}")
        return value

    @field_validator("anthropic_endpoint", "azure_anthropic_endpoint")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must be a URL that starts with https:// or http://")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_sqlite(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("sqlite:///", "sqlite+pysqlite:///")):
            raise ValueError("only SQLite is offered yet; use sqlite:////absolute/path.db")
        return value

    @field_validator("data_dir", "workspace_root", "broker_socket")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @model_validator(mode="after")
    def _azure_is_complete(self) -> Settings:
        if self.model_provider == "azure-anthropic" and self.azure_anthropic_endpoint is None:
            raise ValueError("AZURE_ANTHROPIC_ENDPOINT must be set when MODEL_PROVIDER is azure-anthropic")
        return self

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


def variable_of(field: str) -> str:
    """The environment variable of a field."""
    return field.upper() if field in _UNPREFIXED else f"BULKHEAD_{field.upper()}"


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
