"""The configuration: what it reads, what it refuses and how, and what it never shows."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.decode import decode
from pipeline.settings.file import interpolate
from pipeline.settings.load import Settings, is_loopback, load
from pipeline.settings.models import DeploymentSettings, ModelSettings, ProviderSettings, Timeouts
from pipeline.settings.schema import GatewaySettings, Sections, WorkersSettings

type_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30)

#: A provider that needs nothing, and a model on it, for files that are about something else.
BASE = """
providers: {local: {kind: ollama}}
models: {fast: {deployments: [{provider: local, model: m}]}}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str) -> Path:
        path = tmp_path / "sluice.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def test_the_file_of_the_design_is_read_whole(write: Write) -> None:
    path = write(
        """
redis: {url: "redis://127.0.0.1:6379/0", namespace: sluice, partitions: 1}
gateway: {host: 127.0.0.1, port: 8080, processes: 1, request_timeout_s: 300,
  max_body_bytes: 33554432, default_model: fast}
workers: {processes: 1, calls: 1000, liveness_s: 12, scan_s: 3, grace_s: 30, max_deliveries: 5}
providers:
  openai:
    kind: openai
    base_url: https://api.openai.com/v1
    keys: ["${OPENAI_API_KEY}", "${OPENAI_API_KEY_2:-}"]
    limits: {rpm: 500, tpm: 100000, concurrency: 50}
    cooldown_s: 60
    proxy: "${HTTP_PROXY:-}"
    timeout: {connect_s: 5, first_byte_s: 120, idle_s: 60, total_s: 300}
  local: {kind: ollama, base_url: "http://127.0.0.1:11434/v1"}
models:
  quality:
    strategy: latency
    deployments:
      - {provider: openai, model: gpt-4o, weight: 2, limits: {rpm: 450, tpm: 75000}}
    fallbacks: [fast]
    on_limit: wait
  fast:
    deployments: [{provider: local, model: "qwen3:8b"}]
ladder: [60, 600, 3600, 86400]
retention: {events_s: 86400, replies_s: 3600, dead_s: 604800, max_entries: 1000000}
tenants:
  acme: {tokens: ["sha256:%s"], weight: 1, priority: 0, models: ["*"],
    limits: {rpm: 60, rpd: 5000, tpm: 40000, tpd: 1000000, concurrency: 10,
      window: {requests: 40, seconds: 60}},
    users: {default: {rpm: 10}}}
telemetry: {otlp_endpoint: "", sampling: 1.0}
"""
        % ("a" * 64)
    )
    settings = load(path, environ={"OPENAI_API_KEY": "sk-of-the-test"})
    openai = settings.providers["openai"]
    assert [key.reveal() for key in openai.keys] == ["sk-of-the-test"]
    assert (openai.proxy, openai.limits.rpm, openai.timeout.idle_s) == (None, 500, 60)
    assert settings.tenants["acme"].users["default"].rpm == 10
    assert settings.redis.is_set
    assert settings.source == str(path)


def test_the_sections_of_the_designs_file_are_the_defaults() -> None:
    settings = load(environ={})
    assert settings.redis.address == "redis://127.0.0.1:6379/0"
    assert not settings.redis.is_set
    assert (settings.gateway.port, settings.gateway.default_model) == (8080, "fast")
    assert settings.gateway.max_body_bytes == 32 * 1024 * 1024
    assert settings.gateway.on_disconnect == "drain"
    assert settings.workers == WorkersSettings(processes=1, calls=1000, liveness_s=12)
    assert settings.ladder == (60, 600, 3600, 86400)
    assert settings.retention.dead_s == 604_800
    assert settings.telemetry.sampling == 1.0


def test_the_settings_are_sealed() -> None:
    settings = load(environ={})
    with pytest.raises(AttributeError):
        settings.gateway.port = 1  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "# nothing\n", "gateway:\n", "providers: {}\n"])
def test_an_empty_file_or_section_is_all_defaults(write: Write, text: str) -> None:
    assert load(write(text), environ={}).gateway == GatewaySettings()


def test_the_path_comes_from_the_variable_or_the_directory(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write(BASE + "workers: {calls: 7}")
    assert load(environ={"SLUICE_CONFIG": str(path)}).workers.calls == 7
    monkeypatch.chdir(tmp_path)
    assert load(environ={}).workers.calls == 7
    assert load(environ={}).source == "sluice.yaml"


@given(type_text)
def test_escaped_text_comes_back_as_it_was(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == text


@given(type_text, type_text)
def test_a_variable_is_put_in_as_it_is(text: str, around: str) -> None:
    escaped = around.replace("$", "$$")
    assert interpolate(f"{escaped}${{V}}{escaped}", {"V": text}) == f"{around}{text}{around}"
    assert interpolate("${V:-other}", {"V": text}) == (text or "other")
    assert interpolate("${V:-}", {}) == ""


sections = st.builds(
    Sections,
    gateway=st.builds(
        GatewaySettings, port=st.integers(1, 65535), request_timeout_s=st.floats(0.001, 1e6)
    ),
    ladder=st.sets(st.integers(1, 31_536_000)).map(lambda rungs: tuple(sorted(rungs))),
    providers=st.just(
        {"p": ProviderSettings(kind="vllm", base_url="http://h/v1", timeout=Timeouts(idle_s=2))}
    ),
    models=st.dictionaries(
        type_text.map(str.strip).filter(bool),
        st.builds(
            ModelSettings,
            deployments=st.lists(
                st.builds(
                    DeploymentSettings,
                    provider=st.just("p"),
                    model=type_text.map(lambda text: f"m{text}m"),
                    weight=st.integers(1, 99),
                ),
                min_size=1,
                max_size=3,
                unique_by=lambda one: one.model,
            ).map(tuple),
        ),
        max_size=3,
    ),
)


@given(sections)
def test_what_is_written_is_what_is_read(given_sections: Sections) -> None:
    tree = yaml.safe_load(yaml.safe_dump(msgspec.to_builtins(given_sections, enc_hook=str)))
    assert decode(tree, Sections) == (given_sections, [])


@given(sections)
def test_a_file_with_dollars_in_it_is_read_as_it_was_meant(
    tmp_path_factory: pytest.TempPathFactory, given_sections: Sections
) -> None:
    escaped = msgspec.to_builtins(given_sections, enc_hook=str)
    for model in escaped["models"].values():
        for deployment in model["deployments"]:
            deployment["model"] = deployment["model"].replace("$", "$$")
    escaped["models"]["fast"] = {"deployments": [{"provider": "p", "model": "m"}]}
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_text(yaml.safe_dump(escaped, allow_unicode=True), encoding="utf-8")
    read = load(path, environ={})
    assert {**given_sections.models, "fast": read.models["fast"]} == read.models
    assert (read.ladder, read.gateway) == (given_sections.ladder, given_sections.gateway)


def test_numbers_and_lists_may_come_from_variables(write: Write) -> None:
    path = write(
        BASE + 'gateway: {port: "${PORT}", open: "${OPEN}"}\nladder: "${RUNGS}"\n'
        "redis: {url: '${URL:-}'}"
    )
    settings = load(path, environ={"PORT": "9", "OPEN": "true", "RUNGS": "1, 2,3"})
    assert settings.gateway == GatewaySettings(port=9, open=True)
    assert settings.ladder == (1, 2, 3)
    assert not settings.redis.is_set


@pytest.mark.parametrize("strategy", ["order", "weighted", "round_robin", "least_busy", "cost"])
def test_every_strategy_of_the_design_is_accepted(write: Write, strategy: str) -> None:
    path = write(BASE.replace("fast: {", f"fast: {{strategy: {strategy}, "))
    assert load(path, environ={}).models["fast"].strategy == strategy


def test_a_later_source_overrides_an_earlier_one(write: Write) -> None:
    path = write(BASE + "gateway: {port: 1, processes: 2}\nworkers: {calls: 3}\nredis:\n")
    environ = {"SLUICE_PORT": "10", "SLUICE_WORKERS__CALLS": "30", "SLUICE_REDIS_URL": "redis://a"}
    settings = load(path, environ=environ, overrides={"redis.url": "redis://b:1/2"})
    assert (settings.gateway.port, settings.gateway.processes) == (10, 2)
    assert settings.workers.calls == 30
    assert settings.redis.address == "redis://b:1/2"
    assert settings.redis.is_set


def test_variables_reach_names_that_they_cannot_spell(write: Write) -> None:
    path = write(BASE.replace("local", "my-Local"))
    settings = load(path, environ={"SLUICE_PROVIDERS__MY_LOCAL__TIMEOUT__IDLE_S": "2.5"})
    assert settings.providers["my-Local"].timeout.idle_s == 2.5
    assert load(path, environ={"SLUICE_LADDER": "5,50"}).ladder == (5, 50)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.8.8.8", True), ("::1", True), ("::", False), ("example", False)],
)
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("more", ["gateway: {host: 0.0.0.0, open: true}", "tenants: {a: {}}"])
def test_others_are_let_in_when_the_settings_say_so(write: Write, more: str) -> None:
    environ = {"SLUICE_HOST": "0.0.0.0"}
    assert load(write(BASE + more), environ=environ).gateway.host == "0.0.0.0"


def test_settings_can_be_told_apart_by_value() -> None:
    first: Settings = load(environ={})
    assert first == load(environ={})
    assert first != load(environ={"SLUICE_PORT": "1"})
