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

Provider = Literal["anthropic", "azure-anthropic", "databricks", "openai"]
AzureAuth = Literal["api-key", "x-api-key", "both", "entra"]
AuthScheme = Literal["x-api-key", "bearer", "api-key"]
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

_UNPREFIXED = frozenset(
    {
        "model_provider",
        "anthropic_api_key",
        "anthropic_endpoint",
        "anthropic_auth_scheme",
        "azure_anthropic_endpoint",
        "azure_anthropic_api_key",
        "azure_anthropic_version",
        "azure_anthropic_auth",
        "azure_anthropic_hosted",
        "azure_tenant_id",
        "azure_client_id",
        "azure_client_secret",
        "azure_token_url",
        "databricks_api_base",
        "databricks_api_key",
        "databricks_endpoint_path",
        "databricks_client_id",
        "databricks_client_secret",
        "databricks_account_id",
        "databricks_token_url",
        "openai_base_url",
        "openai_api_key",
        "openai_dialect",
        "prompt_cache_enabled",
        "prompt_cache_ttl_ms",
        "prompt_cache_max_entries",
        "workspace_root",
        "port",
        "docker_host",
    }
)
"""Fields whose variable is the field's name in capitals; every other one's begins with `BULKHEAD_`."""


_NEEDED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "azure-anthropic": (("azure_anthropic_endpoint",),),
    "databricks": (("databricks_api_base",), ("databricks_api_key", "databricks_client_id")),
}
"""What a provider cannot do without: of each group one field must be set."""

_TOGETHER = (
    ("databricks_client_id", "databricks_client_secret"),
    ("azure_client_id", "azure_client_secret"),
)
"""Fields of which none makes sense without the other."""


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
    azure_anthropic_auth: AzureAuth = _setting(
        "both", "How the Azure credential is sent: a header of that name, both headers, or a token from Entra ID."
    )
    azure_anthropic_hosted: bool = _setting(
        False, "The deployment is hosted on Azure itself, which refuses server tools and structured outputs."
    )
    azure_tenant_id: str | None = _setting(None, "Entra tenant of the application, for `AZURE_ANTHROPIC_AUTH=entra`.")
    azure_client_id: str | None = _setting(None, "Application (client) id in that tenant.")
    azure_client_secret: SecretStr | None = _setting(None, "Secret of that application.")
    azure_token_url: str | None = _setting(
        None, "Where tokens come from, in other clouds.", shown="the tenant's endpoint at login.microsoftonline.com"
    )
    databricks_api_base: str | None = _setting(None, "URL of the workspace, for the `databricks` provider.")
    databricks_api_key: SecretStr | None = _setting(None, "Personal access token of the workspace.")
    databricks_endpoint_path: str = _setting(
        "/serving-endpoints/anthropic/v1/messages",
        "Path below the workspace: the Messages route, or `/serving-endpoints/NAME/invocations`, or"
        " `/serving-endpoints/chat/completions`.",
    )
    databricks_client_id: str | None = _setting(
        None, "Service principal whose tokens are used in place of a personal one."
    )
    databricks_client_secret: SecretStr | None = _setting(None, "OAuth secret of that service principal.")
    databricks_account_id: str | None = _setting(None, "Ask for tokens of this account instead of the workspace's.")
    databricks_token_url: str | None = _setting(
        None, "Where tokens come from.", shown="the token endpoint of the workspace"
    )
    openai_base_url: str = _setting(
        "https://api.openai.com/v1", "Base URL, or the full URL of the chat endpoint, of the `openai` provider."
    )
    openai_api_key: SecretStr | None = _setting(None, "Credential for the `openai` provider.")
    openai_dialect: str | None = _setting(
        None, "Which server speaks there; docs/upstreams.md lists the dialects.", shown="by the URL"
    )
    upstreams: Path | None = _setting(
        None, "YAML file of several upstreams and model names (docs/upstreams.md); replaces the variables above."
    )
    models: Names = _setting(
        (), "Models on offer, comma-separated; others are refused. Empty: what the upstream offers."
    )
    upstream_timeout_seconds: float = _setting(
        600.0, "Longest silence of the upstream before its request counts as failed.", unit="seconds", gt=0
    )
    upstream_connect_seconds: float = _setting(
        10.0, "Longest wait for a connection to the upstream.", unit="seconds", gt=0
    )
    upstream_patience_seconds: float = _setting(
        900.0,
        "Longest time from a request to the beginning of its answer, all tries and waits together.",
        unit="seconds",
        gt=0,
    )
    upstream_attempts: int = _setting(
        3, "Tries of one request at one upstream before its first byte, the first included.", unit="tries", ge=1, le=10
    )
    upstream_concurrency: int = _setting(
        500, "Requests at one upstream at a time; further ones wait for a short while.", unit="requests", ge=1
    )
    upstream_breaker_failures: int = _setting(
        8,
        "Failures of an upstream in a row after which it is left alone for a while; 0 never does that.",
        unit="failures",
        ge=0,
    )
    upstream_proxy: str | None = _setting(
        None, "HTTP proxy on the way to upstreams.", shown="`HTTPS_PROXY`, for https upstreams"
    )
    upstream_no_proxy: str | None = _setting(
        None, "Hosts reached without the proxy: names, `.suffixes`, addresses; comma-separated.", shown="`NO_PROXY`"
    )
    upstream_ca_file: Path | None = _setting(
        None, "PEM file of the authorities that may sign an upstream's certificate.", shown="`SSL_CERT_FILE`"
    )

    prompt_cache_enabled: bool = _setting(
        False, "Answer a request that says the same as an earlier one, and runs no tools, from memory."
    )
    prompt_cache_ttl_ms: int = _setting(300_000, "How long an answer is kept.", unit="milliseconds", ge=1)
    prompt_cache_max_entries: int = _setting(64, "Answers kept at once.", unit="answers", ge=1)
    prompt_cache_max_bytes: ByteSize = _setting(
        ByteSize(64 * MIB), "Bytes of all kept answers together.", unit="bytes", gt=0
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

    key_requests_per_minute: int | None = _setting(
        None, "Requests per minute of each key that has no limit of its own.", unit="requests", ge=1, le=10**6
    )
    key_tokens_per_minute: int | None = _setting(
        None, "Tokens per minute of each such key; cache reads do not count.", unit="tokens", ge=1, le=10**12
    )
    key_tokens_per_day: int | None = _setting(
        None, "Tokens per UTC day of each such key; cache reads do not count.", unit="tokens", ge=1, le=10**15
    )
    key_tokens_per_month: int | None = _setting(
        None, "Tokens per UTC month of each such key; cache reads do not count.", unit="tokens", ge=1, le=10**15
    )
    key_usd_per_day: float | None = _setting(
        None, "Money per UTC day of each such key.", unit="US dollars", ge=0.000001, le=1e9
    )
    key_usd_per_month: float | None = _setting(
        None, "Money per UTC month of each such key.", unit="US dollars", ge=0.000001, le=1e9
    )
    key_concurrent_requests: int | None = _setting(
        None, "Requests of each such key at a time.", unit="requests", ge=1, le=10**6
    )
    key_models: Names = _setting(
        (), "Patterns of the models that each such key may use; comma-separated. Empty: every one."
    )
    prices_file: Path | None = _setting(
        None, "TOML file of prices that come before the built-in list (docs/limits.md)."
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
            raise ValueError(f"{value!r} is not offered; choose one of {', '.join(offered)}")
        return value

    @field_validator(
        "anthropic_endpoint",
        "azure_anthropic_endpoint",
        "azure_token_url",
        "databricks_api_base",
        "databricks_token_url",
        "openai_base_url",
    )
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must be a URL that starts with https:// or http://")
        if value is not None and "@" in value.split("/")[2]:
            raise ValueError("must hold no user or password; credentials have variables of their own")
        return value

    @field_validator("upstream_proxy")
    @classmethod
    def _is_http_proxy(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("http://"):
            raise ValueError("must be a URL that starts with http://; https upstreams are tunnelled through it")
        return value

    @field_validator("databricks_endpoint_path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("must be a path that starts with /")
        return value

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

    @model_validator(mode="after")
    def _provider_is_complete(self) -> Settings:
        if self.upstreams is not None:
            return self
        needed = list(_NEEDED.get(self.model_provider, ()))
        why = f"MODEL_PROVIDER is {self.model_provider}"
        if self.model_provider == "azure-anthropic" and self.azure_anthropic_auth == "entra":
            why = "AZURE_ANTHROPIC_AUTH is entra"
            needed += [("azure_client_id",), ("azure_tenant_id", "azure_token_url")]
        for group in needed:
            if all(getattr(self, name) is None for name in group):
                raise ValueError(f"{' or '.join(map(variable_of, group))} must be set when {why}")
        for one, other in (*_TOGETHER, *(pair[::-1] for pair in _TOGETHER)):
            if getattr(self, one) is not None and getattr(self, other) is None:
                raise ValueError(f"{variable_of(other)} must be set when {variable_of(one)} is")
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
