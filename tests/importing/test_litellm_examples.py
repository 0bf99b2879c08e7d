"""Files like those of LiteLLM's documentation, and the settings that they load as."""

import pytest

from pipeline.settings.load import DeploymentSettings
from tests.importing.reading import LITELLM, from_example


def briefly(deployment: DeploymentSettings) -> tuple[str, str, int, int | None]:
    return deployment.provider, deployment.model, deployment.weight, deployment.limits.rpm


@pytest.mark.parametrize("name", sorted(path.stem for path in LITELLM.glob("*.yaml")))
def test_what_an_example_becomes_loads_and_hides_its_secrets(name: str) -> None:
    text = from_example(name).text
    for secret in ("literal", "sk-", "hushed", "9876"):
        assert secret not in text


def test_deployments_of_one_name_are_weighed_by_their_rates() -> None:
    writer = from_example("regions").model("writer")
    assert writer.strategy == "weighted"
    assert [briefly(one) for one in writer.deployments] == [
        ("azure", "writer-north", 2, 60),
        ("azure-acme-south", "writer-south", 1, 30),
        ("compatible", "meta/tiny-llm", 33, 990),
    ]
    assert writer.deployments[0].limits.tpm == 40000
    assert writer.aliases == ("author", "hidden-author")


def test_the_routers_settings_go_before_the_librarys() -> None:
    settings = from_example("regions").settings
    assert settings.retry.quick == 2
    assert {provider.timeout.total_s for provider in settings.providers.values()} == {30}
    azure = settings.providers["azure"]
    assert (azure.breaker.failures, azure.breaker.open_s, azure.cooldown_s) == (3, 45, 45)
    assert azure.health_s == 120
    assert azure.base_url == "https://acme-north.openai.azure.com"


def test_fallbacks_that_are_lost_leave_the_others() -> None:
    result = from_example("regions")
    assert result.model("writer").fallbacks == ("writer-large",)
    assert result.model("writer").context_fallbacks == ("writer-large",)
    assert "mystery" not in result.settings.models
    assert any('fallbacks[0] = "mystery"' in line for line in result.lost())
    assert any(line.startswith('model_list[4] = "mystery": bedrock') for line in result.lost())


def test_redis_and_the_master_key_become_an_address_and_a_tenant() -> None:
    result = from_example("regions")
    assert result.settings.redis.address == "redis://:placeholder-4@cache.internal:6390/0"
    assert [str(token) for token in result.settings.tenants["default"].tokens]
    assert result.variables() == [
        "AZURE_NORTH",
        "AZURE_SOUTH",
        "OPENAI_KEY",
        "CACHE_PASSWORD",
        "MASTER_KEY_HASH",
    ]


def test_a_key_of_none_is_no_key() -> None:
    assert from_example("regions").settings.providers["compatible"].keys == ()


def test_several_keys_are_one_provider_where_each_serves_the_same() -> None:
    result = from_example("keys")
    providers = result.settings.providers
    assert len(providers["openai"].keys) == 2
    assert [briefly(one)[:3] for one in result.model("quick").deployments] == [
        ("openai", "gpt-4.1-mini", 4),
        ("groq", "llama-mini", 1),
    ]


def test_the_same_limit_of_several_keys_is_each_keys() -> None:
    result = from_example("keys")
    mistral = result.settings.providers["mistral"]
    assert (len(mistral.keys), mistral.limits.rpm, mistral.shares_limits) == (2, 50, False)
    assert result.model("exact").deployments[0].limits.rpm is None


def test_keys_with_limits_of_their_own_are_providers_of_their_own() -> None:
    result = from_example("keys")
    assert [briefly(one) for one in result.model("uneven").deployments] == [
        ("deepseek", "deepseek-chat", 5, 50),
        ("deepseek-2", "deepseek-chat", 7, 70),
    ]


def test_credentials_by_name_are_put_in_and_make_one_provider() -> None:
    result = from_example("credentials")
    azure = result.settings.providers["azure"]
    assert (azure.kind, azure.base_url, azure.api_version) == (
        "azure",
        "https://placeholder.example",
        "2024-06-01",
    )
    assert {result.model(name).deployments[0].provider for name in ("assistant", "reader")} == {
        "azure"
    }
    assert result.model("assistant").deployments[0].limits.rpm == 1
    assert result.settings.providers["anthropic"].base_url == "https://anthropic.proxy.example"
    assert any("credential_list has none" in line for line in result.lost())


def test_patterns_of_whole_providers_open_them_to_any_model() -> None:
    result = from_example("patterns")
    assert all(provider.any_model for provider in result.settings.providers.values())
    assert not result.settings.models
    assert len(result.lost()) == 2
    assert any("as openai/NAME" in line for line in result.differing())
    assert not any("anthropic/NAME with us" in line for line in result.differing())


def test_an_order_ranks_deployments() -> None:
    result = from_example("ordered")
    chat, shared = result.model("chat"), result.model("shared")
    assert (chat.strategy, shared.strategy) == ("order", "order")
    assert [one.provider for one in chat.deployments] == ["azure", "gemini", "openrouter"]
    assert [one.model for one in shared.deployments] == ["a", "b", "c"]
    assert any("share an order" in line for line in result.differing())


KINDS = {
    "a": ("openai", "https://api.openai.com/v1", "gpt-4o"),
    "b": ("azure", "https://x.openai.azure.com", "reasoner"),
    "c": ("anthropic", "https://api.anthropic.com", "claude-sonnet-4-5"),
    "d": ("gemini", "https://generativelanguage.googleapis.com", "gemini-2.5-flash"),
    "e": ("openrouter", "https://openrouter.ai/api/v1", "qwen/qwen3-32b"),
    "f": ("ollama", "http://ollama.lan:11434/v1", "qwen3"),
    "g": ("ollama", "http://ollama.lan:11434/v1", "llama3"),
    "h": ("vllm", "http://gpu.lan:8000/v1", "meta/llama"),
    "i": ("compatible", "https://api.groq.com/openai/v1", "llama-70b"),
    "j": ("compatible", "https://api.mistral.ai/v1", "mistral-small"),
    "n": ("compatible", "https://api.fireworks.ai/inference/v1", "accounts/x/models/y"),
    "o": ("compatible", "https://api.perplexity.ai", "custom"),
    "p": ("compatible", "https://placeholder.example", "local"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_prefix_becomes_a_kind_and_an_address(name: str) -> None:
    result = from_example("kinds")
    (deployment,) = result.model(name).deployments
    provider = result.settings.providers[deployment.provider]
    assert (provider.kind, provider.base_url, deployment.model) == KINDS[name]


def test_differences_from_openais_form_that_are_known_are_taken() -> None:
    result = from_example("kinds")
    groq, mistral = (result.settings.providers[name] for name in ("groq", "mistral"))
    assert (groq.differs.like, mistral.differs.like) == ("groq", "mistral")
    assert mistral.differs.rename["seed"] == "random_seed"
    assert result.settings.providers["cohere"].differs.like == "cohere"


def test_what_nothing_speaks_to_is_left_out_and_told() -> None:
    result = from_example("kinds")
    assert not [name for name in result.settings.models if name.startswith("v")]
    assert len(result.lost()) == 7


def test_prices_abilities_and_timeouts_are_taken() -> None:
    result = from_example("facts")
    (vision,) = result.model("vision").deployments
    assert vision.price is not None
    assert (vision.price.prompt, vision.price.completion, vision.price.cached) == (2.0, 8.0, 0.5)
    assert (vision.context_tokens, vision.vision, vision.tools) == (128000, True, False)
    assert vision.limits.concurrency == 12
    openai = result.settings.providers[vision.provider]
    timeout = openai.timeout
    assert (timeout.total_s, timeout.first_byte_s, timeout.idle_s) == (500, 500, 90)
    assert result.settings.gateway.request_timeout_s == 500
    assert openai.headers["X-Team"].reveal() == "blue"
    assert openai.headers["OpenAI-Organization"].reveal() == "org-acme"
    assert "OPENAI_X_API_KEY" in result.variables()


def test_embeddings_do_not_fall_back_to_chats_by_default() -> None:
    result = from_example("facts")
    assert result.model("numbers").fallbacks == ()
    assert result.model("numbers").deployments[0].vector_size == 1536
    assert result.model("sighted").fallbacks == ("vision",)


def test_a_date_without_quotes_is_an_api_version() -> None:
    assert from_example("facts").settings.providers["azure"].api_version == "2024-10-21"


def test_fields_for_all_requests_are_told_as_lost() -> None:
    lost = from_example("facts").lost()
    assert any("temperature = 0.1" in line for line in lost)
    assert any("base_model" in line and "genai-prices" in line for line in lost)
