"""LiteLLM's router, library and server settings one by one."""

import pytest

from pipeline.errors import StartError
from pipeline.importing import litellm
from tests.importing.reading import from_litellm, tree_of

MODELS = """
model_list:
  - {model_name: a, litellm_params: {model: groq/a}}
  - {model_name: a, litellm_params: {model: xai/a}}
  - {model_name: b, litellm_params: {model: groq/b}}
  - {model_name: c, litellm_params: {model: groq/c}}
  - {model_name: e, litellm_params: {model: mistral/mistral-embed}}
"""


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("simple-shuffle", "weighted"),
        ("least-busy", "least_busy"),
        ("latency-based-routing", "latency"),
        ("cost-based-routing", "cost"),
        ("usage-based-routing", "least_busy"),
        ("usage-based-routing-v2", "least_busy"),
    ],
)
def test_a_strategy_becomes_ours(theirs: str, ours: str) -> None:
    result = from_litellm(f"{MODELS}\nrouter_settings: {{routing_strategy: {theirs}}}")
    assert result.model("a").strategy == ours
    assert theirs.startswith("usage") == any("least_busy" in line for line in result.differing())


def test_an_unknown_strategy_is_told() -> None:
    result = from_litellm(f"{MODELS}\nrouter_settings: {{routing_strategy: telepathy}}")
    assert result.model("a").strategy == "weighted"
    assert any("telepathy" in line for line in result.lost())


def test_models_that_fall_back_to_each_other_still_do() -> None:
    chains = "[{a: [b]}, {b: [c]}, {c: [a, b]}]"
    result = from_litellm(f"{MODELS}\nlitellm_settings: {{fallbacks: {chains}}}")
    assert result.model("a").fallbacks == ("b-alone", "c-alone")
    assert result.model("c").fallbacks == ("a-alone", "b-alone")
    assert result.model("a-alone").deployments == result.model("a").deployments
    assert result.model("a-alone").fallbacks == ()


def test_fallbacks_of_all_models_are_of_those_without_their_own() -> None:
    text = f"{MODELS}\nrouter_settings: {{fallbacks: [{{b: [c]}}], default_fallbacks: [a]}}"
    result = from_litellm(text)
    found = {name: result.model(name).fallbacks for name in "abce"}
    assert found == {"a": (), "b": ("c",), "c": ("a",), "e": ()}


def test_a_fallback_that_makes_something_else_is_told() -> None:
    result = from_litellm(f"{MODELS}\nrouter_settings: {{fallbacks: [{{e: [a]}}]}}")
    assert result.model("e").fallbacks == ()
    assert any("embeddings" in line for line in result.lost())


def test_fallbacks_know_aliases() -> None:
    text = f"""{MODELS}
router_settings:
  model_group_alias: {{alpha: a, beta: {{model: b}}, a: b, gone: nothing}}
  fallbacks: [{{beta: [alpha, gone, {{model: a, messages: []}}]}}]
"""
    result = from_litellm(text)
    assert result.model("a").aliases == ("alpha",)
    assert result.model("b").fallbacks == ("a",)
    lost = " ".join(result.lost())
    assert "model_group_alias.a " in lost
    assert "model_group_alias.gone" in lost
    assert "without messages of its own" in lost


def test_policy_fallbacks_are_taken() -> None:
    text = f"{MODELS}\nlitellm_settings: {{content_policy_fallbacks: [{{a: [b, c]}}]}}"
    assert from_litellm(text).model("a").policy_fallbacks == ("b", "c")


def test_weights_become_the_smallest_whole_numbers() -> None:
    text = """
model_list:
  - {model_name: a, litellm_params: {model: groq/a, weight: 0.9}}
  - {model_name: a, litellm_params: {model: xai/a, weight: 0.1}}
  - {model_name: b, litellm_params: {model: groq/b, weight: 300}}
  - {model_name: b, litellm_params: {model: xai/b}}
"""
    result = from_litellm(text)
    assert [one.weight for one in result.model("a").deployments] == [9, 1]
    first, second = (one.weight for one in result.model("b").deployments)
    assert first >= 1000 * second
    assert any("gets no requests" in line for line in result.differing())


def test_a_deployment_that_is_listed_twice_is_one() -> None:
    entry = "{model_name: a, litellm_params: {model: groq/a, rpm: 5}}"
    result = from_litellm(f"model_list: [{entry}, {entry}]")
    assert len(result.model("a").deployments) == 1
    assert any("listed before" in line for line in result.differing())


def test_two_prices_of_one_model_are_the_first_one() -> None:
    text = """
model_list:
  - {model_name: a, litellm_params: {model: groq/m, input_cost_per_token: 0.000001}}
  - {model_name: b, litellm_params: {model: groq/m, input_cost_per_token: 0.000003}}
"""
    result = from_litellm(text)
    (price,) = {one.deployments[0].price for one in result.settings.models.values()}
    assert price is not None
    assert price.prompt == 1.0
    assert any("another was said before" in line for line in result.lost())


def test_a_price_of_answers_alone_is_told() -> None:
    entry = "{model_name: a, litellm_params: {model: groq/a, output_cost_per_token: 0.000001}}"
    result = from_litellm(f"model_list: [{entry}]")
    assert result.model("a").deployments[0].price is None
    assert any("begins with that of prompts" in line for line in result.lost())


def test_an_address_that_is_none_becomes_a_variable() -> None:
    text = """
model_list:
  - {model_name: a, litellm_params: {model: azure/x, api_base: <your-azure-endpoint>, api_key: k}}
  - {model_name: b, litellm_params: {model: openai/y, api_base: "https://u:pw@h/v1", api_key: k2}}
"""
    result = from_litellm(text)
    assert {"AZURE_API_BASE", "OPENAI_API_BASE"} <= set(result.variables())
    assert "pw" not in result.text.replace("https", "")
    assert len([line for line in result.lost() if "expected a URL" in line]) == 2


def test_a_token_of_entra_id_is_a_header_in_place_of_a_key() -> None:
    text = """
model_list:
  - model_name: a
    litellm_params: {model: azure/x, api_base: "https://h.azure.com", azure_ad_token: eyJhush}
"""
    result = from_litellm(text)
    azure = result.settings.providers["azure"]
    assert azure.keys == ()
    assert azure.headers["Authorization"].reveal().startswith("Bearer placeholder")
    assert "hush" not in result.text


def test_openais_key_is_not_shown_to_other_servers() -> None:
    entry = "{model_name: a, litellm_params: {model: openai/x, api_base: 'http://gpu.lan/v1'}}"
    result = from_litellm(f"model_list: [{entry}]")
    (provider,) = result.settings.providers.values()
    assert (provider.kind, provider.keys) == ("compatible", ())
    assert any("no key" in line for line in result.differing())


def test_the_longest_timeout_of_deployments_with_one_key_holds() -> None:
    text = """
model_list:
  - {model_name: a, litellm_params: {model: groq/a, timeout: 20, cooldown_time: 5}}
  - {model_name: b, litellm_params: {model: groq/b, timeout: 40}}
"""
    result = from_litellm(text)
    groq = result.settings.providers["groq"]
    assert (groq.timeout.total_s, groq.cooldown_s) == (40, 5)
    assert any("share their timeouts" in line for line in result.differing())


def test_cooldowns_can_be_off() -> None:
    groq = from_litellm(f"{MODELS}\nrouter_settings: {{disable_cooldowns: true}}").settings
    provider = groq.providers["groq"]
    assert (provider.cooldown_s, provider.breaker.failures) == (0, 0)


def test_a_redis_url_with_a_password_becomes_a_variable() -> None:
    url = "redis://:hush@cache:6379/2"
    result = from_litellm(f"{MODELS}\nrouter_settings: {{redis_url: '{url}'}}")
    assert "REDIS_URL" in result.variables()
    assert "hush" not in result.text


def test_limits_for_all_deployments_are_those_of_each() -> None:
    text = f"{MODELS}\ngeneral_settings: {{max_parallel_requests: 9, max_request_size_mb: 2}}"
    result = from_litellm(text)
    assert result.model("b").deployments[0].limits.concurrency == 9
    assert result.settings.gateway.max_body_bytes == 2_097_152


def test_the_limit_of_all_requests_is_the_tenants() -> None:
    server = "{master_key: sk-1, global_max_parallel_requests: 50, completion_model: b}"
    result = from_litellm(f"{MODELS}\ngeneral_settings: {server}")
    assert result.settings.tenants["default"].limits.concurrency == 50
    assert result.settings.gateway.default_model == "b"


def test_dollars_of_the_source_are_no_variables_of_ours() -> None:
    entry = "{model_name: a, litellm_params: {model: 'groq/a$b{c', extra_headers: {X-A: 'p$q'}}}"
    result = from_litellm(f"model_list: [{entry}]")
    assert result.model("a").deployments[0].model == "a$b{c"
    assert result.settings.providers["groq"].headers["X-A"].reveal() == "p$q"


def test_a_variable_with_our_prefix_gets_another_name() -> None:
    entry = "{model_name: a, litellm_params: {model: groq/a, api_key: os.environ/SLUICE_KEY}}"
    assert from_litellm(f"model_list: [{entry}]").variables() == ["MY_SLUICE_KEY"]


def test_made_up_names_keep_clear_of_those_in_the_file() -> None:
    text = """
model_list:
  - {model_name: a, litellm_params: {model: groq/a, api_key: literal-one}}
  - {model_name: b, litellm_params: {model: groq/b, api_key: os.environ/GROQ_KEY}}
  - {model_name: c, litellm_params: {model: groq/c, api_key: literal-one}}
"""
    result = from_litellm(text)
    assert result.variables() == ["GROQ_KEY_2", "GROQ_KEY"]
    assert len(result.settings.providers) == 2


@pytest.mark.parametrize(
    "text",
    [
        "model_list: []",
        "general_settings: {store_model_in_db: true}",
        "model_list: [{model_name: a, litellm_params: {model: bedrock/x}}]",
        "model_list: [7, {model_name: a}]",
        "model_list: {model_name: a}",
    ],
)
def test_a_file_without_a_model_that_can_be_taken_is_refused(text: str) -> None:
    with pytest.raises(StartError, match="nothing in it can be taken over"):
        litellm.read(tree_of(text))
