"""Settings: a complete configuration from nothing, and one clear sentence for each wrong one."""

from pathlib import Path

import pytest

from gateway.settings import CONFIG_VARIABLE, Settings, SettingsError, load_settings, unknown_variables, variable_of


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(variable_of(field), raising=False)
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)


def test_an_empty_environment_gives_a_complete_configuration(tmp_path: Path) -> None:
    settings = load_settings()
    assert (settings.model_provider, settings.host, settings.port) == ("anthropic", "127.0.0.1", 8080)
    assert settings.data_dir == tmp_path / ".local/state/bulkhead"
    assert settings.store_url == f"sqlite:///{tmp_path}/.local/state/bulkhead/bulkhead.db"
    assert settings.client_tools == ("mcp__*",)
    assert settings.workspace_root == Path.cwd()


def test_state_lies_where_the_xdg_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert load_settings().data_dir == tmp_path / "state/bulkhead"


def test_the_seeds_variables_work_without_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_PROVIDER", "azure-anthropic")
    monkeypatch.setenv("AZURE_ANTHROPIC_ENDPOINT", "https://unit.services.ai.azure.com/anthropic/v1/messages")
    monkeypatch.setenv("AZURE_ANTHROPIC_API_KEY", "azure-secret")
    monkeypatch.setenv("WORKSPACE_ROOT", "~/code")
    monkeypatch.setenv("PORT", "9090")
    settings = load_settings()
    assert settings.azure_anthropic_api_key is not None
    assert settings.azure_anthropic_api_key.get_secret_value() == "azure-secret"
    assert settings.workspace_root == Path.home() / "code"
    assert settings.port == 9090


def test_the_seeds_databricks_variables_work_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_PROVIDER", "databricks")
    monkeypatch.setenv("DATABRICKS_API_BASE", "https://adb-1.2.azuredatabricks.net")
    monkeypatch.setenv("DATABRICKS_API_KEY", "dapi-secret")
    assert load_settings().databricks_endpoint_path == "/serving-endpoints/anthropic/v1/messages"
    monkeypatch.setenv("DATABRICKS_ENDPOINT_PATH", "/serving-endpoints/databricks-claude-sonnet-4-5/invocations")
    settings = load_settings()
    assert settings.databricks_endpoint_path.endswith("/invocations")
    assert "dapi-secret" not in repr(settings)


def test_the_seeds_prompt_cache_variables_work_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load_settings().prompt_cache_enabled
    monkeypatch.setenv("PROMPT_CACHE_ENABLED", "true")
    monkeypatch.setenv("PROMPT_CACHE_TTL_MS", "1000")
    monkeypatch.setenv("PROMPT_CACHE_MAX_ENTRIES", "8")
    monkeypatch.setenv("BULKHEAD_PROMPT_CACHE_MAX_BYTES", "1 MiB")
    settings = load_settings()
    assert (settings.prompt_cache_enabled, settings.prompt_cache_ttl_ms) == (True, 1000)
    assert (settings.prompt_cache_max_entries, settings.prompt_cache_max_bytes) == (8, 1024 * 1024)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"MODEL_PROVIDER": "databricks", "DATABRICKS_API_BASE": "https://a.example"},
            "DATABRICKS_API_KEY or DATABRICKS_CLIENT_ID must be set when MODEL_PROVIDER is databricks.",
        ),
        (
            {
                "MODEL_PROVIDER": "azure-anthropic",
                "AZURE_ANTHROPIC_ENDPOINT": "https://a.example",
                "AZURE_ANTHROPIC_AUTH": "entra",
            },
            "AZURE_CLIENT_ID must be set when AZURE_ANTHROPIC_AUTH is entra.",
        ),
        (
            {
                "MODEL_PROVIDER": "azure-anthropic",
                "AZURE_ANTHROPIC_ENDPOINT": "https://a.example",
                "AZURE_ANTHROPIC_AUTH": "entra",
                "AZURE_CLIENT_ID": "app",
                "AZURE_CLIENT_SECRET": "s",
            },
            "AZURE_TENANT_ID or AZURE_TOKEN_URL must be set when AZURE_ANTHROPIC_AUTH is entra.",
        ),
    ],
)
def test_what_a_provider_lacks_is_named(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str) -> None:
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == said


def test_with_an_upstreams_file_the_variables_of_one_upstream_need_not_be_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_PROVIDER", "databricks")
    monkeypatch.setenv("BULKHEAD_UPSTREAMS", "upstreams.yaml")
    assert load_settings().upstreams == Path.cwd() / "upstreams.yaml"


def test_a_variable_that_only_looks_like_a_field_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("HOST", "example.org")
    monkeypatch.setenv("MODE", "nonsense")
    settings = load_settings()
    assert (settings.display, settings.host, settings.mode) == ("auto", "127.0.0.1", "sandbox")


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")
    assert load_settings().port == 8080


def test_sizes_may_have_a_unit_and_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKHEAD_TOOL_OUTPUT_BYTES", "3 MiB")
    monkeypatch.setenv("BULKHEAD_CLIENT_TOOLS", "mcp__github__*, Custom,")
    settings = load_settings()
    assert settings.tool_output_bytes == 3 * 1024 * 1024
    assert settings.client_tools == ("mcp__github__*", "Custom")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MODEL_PROVIDER", "azure", "'azure' is not offered; choose one of anthropic, azure-anthropic, databricks, op"),
        ("MODEL_PROVIDER", "databricks", "DATABRICKS_API_BASE must be set when MODEL_PROVIDER is databricks."),
        ("DATABRICKS_ENDPOINT_PATH", "serving-endpoints/x", "DATABRICKS_ENDPOINT_PATH: must be a path that starts"),
        ("DATABRICKS_API_BASE", "adb.example", "DATABRICKS_API_BASE: must be a URL"),
        ("DATABRICKS_CLIENT_ID", "app", "DATABRICKS_CLIENT_SECRET must be set when DATABRICKS_CLIENT_ID is."),
        ("AZURE_CLIENT_SECRET", "s", "AZURE_CLIENT_ID must be set when AZURE_CLIENT_SECRET is."),
        ("AZURE_ANTHROPIC_AUTH", "oauth", "AZURE_ANTHROPIC_AUTH: input should be 'api-key', 'x-api-key', 'both' or"),
        ("OPENAI_BASE_URL", "http://me:secret@vllm:8000", "OPENAI_BASE_URL: must hold no user or password"),
        ("OPENAI_BASE_URL", "localhost:8000", "OPENAI_BASE_URL: must be a URL"),
        (
            "BULKHEAD_UPSTREAM_PROXY",
            "socks5://proxy",
            "BULKHEAD_UPSTREAM_PROXY: must be a URL that starts with http://",
        ),
        ("BULKHEAD_UPSTREAM_ATTEMPTS", "0", "BULKHEAD_UPSTREAM_ATTEMPTS: input should be greater than or equal to 1."),
        ("PROMPT_CACHE_ENABLED", "maybe", "PROMPT_CACHE_ENABLED: input should be a valid boolean"),
        ("PROMPT_CACHE_TTL_MS", "0", "PROMPT_CACHE_TTL_MS: input should be greater than or equal to 1."),
        ("PORT", "http", "PORT: input should be a valid integer"),
        ("PORT", "70000", "PORT: input should be less than or equal to 65535."),
        ("BULKHEAD_MAX_STEPS", "0", "BULKHEAD_MAX_STEPS: input should be greater than or equal to 1."),
        ("BULKHEAD_MODE", "open", "BULKHEAD_MODE: input should be 'sandbox' or 'client'."),
        ("BULKHEAD_MAX_BODY_BYTES", "lots", "BULKHEAD_MAX_BODY_BYTES: "),
        ("BULKHEAD_DATABASE_URL", "postgresql://db/bulkhead", "BULKHEAD_DATABASE_URL: only SQLite is offered yet"),
        ("ANTHROPIC_ENDPOINT", "api.example", "ANTHROPIC_ENDPOINT: must be a URL"),
        ("MODEL_PROVIDER", "azure-anthropic", "AZURE_ANTHROPIC_ENDPOINT must be set"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert message.endswith(".")


def test_a_file_gives_settings_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "bulkhead.toml"
    file.write_text('max_steps = 7\nmax_repeats = 9\nclient_tools = ["a"]\n')
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    monkeypatch.setenv("BULKHEAD_MAX_REPEATS", "3")
    settings = load_settings()
    assert (settings.max_steps, settings.max_repeats, settings.client_tools) == (7, 3, ("a",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("max_stepz = 7\n", "max_stepz in {file} is not a setting."),
        ('max_steps = "x"\n', "BULKHEAD_MAX_STEPS: input should be a valid integer"),
        ("max_steps = [\n", "BULKHEAD_CONFIG: {file} cannot be read as TOML"),
        (None, "BULKHEAD_CONFIG names {file}, which is not a file."),
    ],
)
def test_a_wrong_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "bulkhead.toml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert said.format(file=file) in str(caught.value)


def test_credentials_appear_neither_in_the_representation_nor_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    assert "sk-secret" not in repr(load_settings())
    monkeypatch.setenv("PORT", "x")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "sk-secret" not in str(caught.value)


def test_the_data_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "a" / "b")
    assert settings.prepare_data_dir().stat().st_mode & 0o777 == 0o700


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="BULKHEAD_DATA_DIR"):
        load_settings(data_dir=tmp_path / "file" / "data").prepare_data_dir()


def test_a_misspelt_variable_is_found() -> None:
    environment = {"BULKHEAD_MAX_STEP": "1", "BULKHEAD_MAX_STEPS": "1", "BULKHEAD_CONFIG": "", "PATH": ""}
    assert unknown_variables(environment) == ["BULKHEAD_MAX_STEP"]


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
