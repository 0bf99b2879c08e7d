"""Providers that are configured by a variable being set, and what is not acted on yet."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.catalog import Catalog
from pipeline.prices import price
from pipeline.settings.load import Settings, load


def deployments(settings: Settings, model: str) -> list[str]:
    return [f"{one.provider}/{one.model}" for one in settings.models[model].deployments]


def test_without_a_provider_the_simulated_one_serves() -> None:
    settings = load(environ={})
    assert settings.providers["simulated"].base_url == "http://127.0.0.1:8081/v1"
    assert settings.needs_simulator
    assert (deployments(settings, "fast"), deployments(settings, "quality")) == (
        ["simulated/fast"],
        ["simulated/quality"],
    )
    moved = load(environ={"SLUICE_SIMULATE__PORT": "9000", "SLUICE_SIMULATE__HOST": "::1"})
    assert moved.providers["simulated"].base_url == "http://[::1]:9000/v1"
    assert moved.needs_simulator


TABLE: list[tuple[Mapping[str, str], str, str, list[str]]] = [
    ({"OPENAI_API_KEY": "a"}, "openai", "https://api.openai.com/v1", ["a"]),
    (
        {"OPENAI_API_KEY": "a", "OPENAI_BASE_URL": "http://h/v1/"},
        "openai",
        "http://h/v1",
        ["a"],
    ),
    (
        {"OPENROUTER_API_KEYS": "a, b,,a"},
        "openrouter",
        "https://openrouter.ai/api/v1",
        ["a", "b"],
    ),
    ({"ANTHROPIC_API_KEY": "a"}, "anthropic", "https://api.anthropic.com", ["a"]),
    (
        {"ANTHROPIC_API_KEY": "a", "ANTHROPIC_BASE_URL": "http://h/"},
        "anthropic",
        "http://h",
        ["a"],
    ),
    ({"GEMINI_API_KEY": "a"}, "gemini", "https://generativelanguage.googleapis.com", ["a"]),
    (
        {"GEMINI_API_KEY": "a", "GOOGLE_API_KEY": "b"},
        "gemini",
        "https://generativelanguage.googleapis.com",
        ["a"],
    ),
    ({"GOOGLE_API_KEY": "b"}, "gemini", "https://generativelanguage.googleapis.com", ["b"]),
    (
        {"AZURE_OPENAI_API_KEY": "a", "AZURE_OPENAI_ENDPOINT": "https://n.openai.azure.com/"},
        "azure",
        "https://n.openai.azure.com",
        ["a"],
    ),
    ({"OPENROUTER_API_KEY": "c"}, "openrouter", "https://openrouter.ai/api/v1", ["c"]),
    (
        {"OPENROUTER_API_KEY": "c", "OPENROUTER_API_KEYS": "a,c"},
        "openrouter",
        "https://openrouter.ai/api/v1",
        ["a", "c"],
    ),
    ({"OLLAMA_HOST": "127.0.0.1"}, "ollama", "http://127.0.0.1:11434/v1", []),
    ({"OLLAMA_HOST": "0.0.0.0:1"}, "ollama", "http://127.0.0.1:1/v1", []),
    ({"OLLAMA_HOST": "box:99/"}, "ollama", "http://box:99/v1", []),
    ({"OLLAMA_HOST": "[::1]"}, "ollama", "http://[::1]:11434/v1", []),
    ({"OLLAMA_HOST": "https://box"}, "ollama", "https://box/v1", []),
    ({"OLLAMA_HOST": "https://box/api/v1"}, "ollama", "https://box/api/v1", []),
]


@pytest.mark.parametrize(("environ", "name", "base_url", "keys"), TABLE)
def test_a_variable_configures_a_provider(
    environ: Mapping[str, str], name: str, base_url: str, keys: list[str]
) -> None:
    settings = load(environ=environ)
    provider = settings.providers[name]
    assert list(settings.providers) == [name]
    assert (provider.kind, provider.base_url) == (name, base_url)
    assert [key.reveal() for key in provider.keys] == keys
    assert provider.any_model
    assert not settings.needs_simulator
    assert {model.split("/")[0] for model in deployments(settings, "fast")} == {name}


def test_providers_fall_back_in_the_order_of_the_design() -> None:
    environ = {
        "AZURE_OPENAI_API_KEY": "e",
        "AZURE_OPENAI_ENDPOINT": "https://n.openai.azure.com",
        "OLLAMA_HOST": "h",
        "OPENROUTER_API_KEY": "d",
        "GOOGLE_API_KEY": "c",
        "ANTHROPIC_API_KEY": "b",
        "OPENAI_API_KEY": "a",
    }
    settings = load(environ=environ)
    order = [name.split("/")[0] for name in deployments(settings, "quality")]
    assert order == ["openai", "anthropic", "gemini", "openrouter", "azure", "ollama"]
    assert settings.left_out == ()


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "openrouter"])
def test_the_prices_of_the_models_by_default_are_known(kind: str) -> None:
    names = {"openai": "OPENAI", "anthropic": "ANTHROPIC", "gemini": "GEMINI"}
    settings = load(environ={f"{names.get(kind, 'OPENROUTER')}_API_KEY": "a"})
    catalog = Catalog(settings)
    for model in settings.models.values():
        [deployment] = model.deployments
        known = catalog.deployment(f"{deployment.provider}/{deployment.model}")
        assert price(settings.providers[kind], known) is not None


def test_azures_variables_tell_the_version_and_the_deployment() -> None:
    azure = {"AZURE_OPENAI_API_KEY": "a", "AZURE_OPENAI_ENDPOINT": "https://n.openai.azure.com"}
    settings = load(environ={**azure, "OPENAI_API_VERSION": "2024-10-21"})
    assert settings.providers["azure"].api_version == "2024-10-21"
    assert deployments(settings, "fast") == ["azure/gpt-4o-mini"]
    more = {"AZURE_OPENAI_API_VERSION": "preview", "AZURE_OPENAI_DEPLOYMENT": "mine"}
    settings = load(environ={**azure, "OPENAI_API_VERSION": "2024-10-21", **more})
    assert settings.providers["azure"].api_version == "preview"
    assert deployments(settings, "quality") == ["azure/mine"]


def test_openrouters_attribution_and_proxy_come_from_the_seeds_variables() -> None:
    settings = load(
        environ={
            "OPENROUTER_API_KEYS": "a",
            "OPENROUTER_SITE_URL": "https://example.org",
            "OPENROUTER_SITE_NAME": "A house",
            "HTTP_PROXY": "http://u:p@proxy:3128",
        }
    )
    provider = settings.providers["openrouter"]
    headers = {name: text.reveal() for name, text in provider.headers.items()}
    assert headers == {"HTTP-Referer": "https://example.org", "X-Title": "A house"}
    assert provider.proxy is not None
    assert provider.proxy.reveal() == "http://u:p@proxy:3128"


def test_the_seeds_variables_reach_limits_models_and_ladder() -> None:
    settings = load(
        environ={
            "OPENAI_API_KEY": "a",
            "LLM_RPM": "500",
            "LLM_TPM": "100000",
            "OPENROUTER_API_KEYS": "b",
            "OPENROUTER_MODEL": "google/gemini-pro",
            "KEYS_MAX_PER_MINUTE": "10",
            "KEYS_COOLDOWN_SECONDS": "90",
            "QUEUE_RETRY_DELAYS": "60, 600",
        }
    )
    assert settings.providers["openai"].limits.rpm == 500
    assert settings.providers["openai"].limits.tpm == 100_000
    assert settings.providers["openrouter"].limits.rpm == 10
    assert settings.providers["openrouter"].cooldown_s == 90
    assert settings.providers["openai"].cooldown_s == 60
    assert deployments(settings, "fast")[1] == "openrouter/google/gemini-pro"
    assert deployments(settings, "quality")[1] == "openrouter/google/gemini-pro"
    assert settings.ladder == (60, 600)


def test_a_file_with_providers_is_the_whole_truth(tmp_path: Path) -> None:
    path = tmp_path / "sluice.yaml"
    path.write_text(
        "providers: {local: {kind: ollama}}\n"
        "models: {fast: {deployments: [{provider: local, model: m}]}}"
    )
    environ = {"OPENAI_API_KEY": "a", "QUEUE_RETRY_DELAYS": "1", "GEMINI_API_KEY": "x"}
    settings = load(path, environ=environ)
    assert list(settings.providers) == ["local"]
    assert list(settings.models) == ["fast"]
    assert settings.ladder == (60, 600, 3600, 86_400)
    assert settings.left_out == ()


def test_a_file_may_add_models_to_providers_of_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "sluice.yaml"
    path.write_text("models: {fast: {deployments: [{provider: openai, model: mine}]}}\nladder: [5]")
    settings = load(path, environ={"OPENAI_API_KEY": "a", "QUEUE_RETRY_DELAYS": "1"})
    assert deployments(settings, "fast") == ["openai/mine"]
    assert deployments(settings, "quality") == ["openai/gpt-4o"]
    assert settings.ladder == (5,)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
        ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"),
    ],
)
def test_half_of_azures_variables_leave_it_out_aloud(given: str, missing: str) -> None:
    settings = load(environ={given: "x"})
    assert list(settings.providers) == ["simulated"]
    assert settings.left_out == (f"{given}: azure is left out, since {missing} is not set",)


def test_an_empty_variable_counts_as_unset() -> None:
    names = ("OPENAI_API_KEY", "OPENROUTER_API_KEYS", "OLLAMA_HOST", "GEMINI_API_KEY", "LLM_RPM")
    assert load(environ=dict.fromkeys(names, " ")) == load(environ={})
