"""LLM Queue's YAML, with the names of its README and of its code."""

import pytest

from pipeline.errors import StartError
from pipeline.importing import llm_queue
from tests.importing.reading import from_llm_queue, tree_of

ONE = """
azure_open_ai:
  - api_key: "secret-one"
    api_version: "2023-03-15-preview"
    api_type: "azure"
    azure_endpoint: "https://east.openai.azure.com/"
    azure_oai_models:
      - unique_model_id: "gpt-east"
        model_name_in_azure: "gpt-4o"
        deployment_name_in_azure: "gpt-4o-prod"
        model_type: "completion"
        track_tokens: "yes"
        req_per_min: 450
        tokens_per_min: 75000
        error_backoff_in_seconds: 30
      - unique_model_id: "ada"
        model_name_in_azure: "text-embedding-ada-002"
        deployment_name_in_azure: "ada-prod"
        model_type: "embeddings"
        req_per_min: 1020
        tokens_per_min: 170000
        error_backoff_in_seconds: 60
"""
TWO = """
  - api_key: os.environ/WEST
    api_version: "2023-03-15-preview"
    azure_endpoint: "https://west.openai.azure.com/"
    azure_oai_models:
      - unique_model_id: "gpt-west"
        model_name_in_azure: "gpt-4o"
        deployment_name_in_azure: "gpt-4o-prod"
        model_type: "chat"
        req_per_min: 100
"""


def test_a_deployment_is_a_model_with_its_limits() -> None:
    result = from_llm_queue(ONE)
    (chat,) = result.model("gpt-east").deployments
    assert (chat.provider, chat.model) == ("azure", "gpt-4o-prod")
    assert (chat.limits.rpm, chat.limits.tpm) == (450, 75000)
    (embedding,) = result.model("ada").deployments
    assert (embedding.model, embedding.limits.rpm) == ("ada-prod", 1020)
    azure = result.settings.providers["azure"]
    assert (azure.kind, azure.base_url) == ("azure", "https://east.openai.azure.com")
    assert azure.api_version == "2023-03-15-preview"
    assert azure.cooldown_s == 60
    assert result.settings.gateway.default_model == "gpt-east"


def test_the_key_becomes_a_variable_and_is_never_shown() -> None:
    result = from_llm_queue(ONE)
    assert result.variables() == ["AZURE_KEY"]
    assert "secret-one" not in result.text
    assert "keys:\n    - ${AZURE_KEY}" in result.text


def test_requests_without_a_preference_go_to_all_chats_in_turn() -> None:
    result = from_llm_queue(ONE + TWO)
    assert result.settings.gateway.default_model == "any-chat"
    for name in ("any-chat", "gpt-4o"):
        model = result.model(name)
        assert model.strategy == "round_robin"
        assert [one.provider for one in model.deployments] == ["azure", "azure-west"]
    assert result.model("ada").deployments[0].model == "ada-prod"
    assert "text-embedding-ada-002" not in result.settings.models


@pytest.mark.parametrize(
    ("window", "timeout"),
    [
        ("time_window_in_seconds", "request_timeout_seconds"),
        ("time_window_length_in_seconds", "ttl_in_seconds"),
    ],
)
def test_limits_of_users_and_queue_are_taken_by_either_name(window: str, timeout: str) -> None:
    result = from_llm_queue(
        f"{ONE}\nuser_limits: {{max_num_requests_in_time_window: 40, {window}: 90}}\n"
        f"scheduler_limits: {{max_queue_size: 1000, {timeout}: 120}}\n"
    )
    given = result.settings.tenants["default"].users["default"].window
    assert given is not None
    assert (given.requests, given.seconds) == (40, 90)
    assert result.settings.gate.max_queue_size == 1000
    assert result.settings.gateway.request_timeout_s == 120
    assert "DEFAULT_TOKEN_HASH" in result.variables()
    assert result.lost() == []


def test_without_limits_of_users_there_are_no_tenants() -> None:
    assert from_llm_queue(ONE).settings.tenants == {}


def test_what_has_no_counterpart_is_told() -> None:
    result = from_llm_queue(
        f"{ONE}\ncustom_models: [{{unique_model_id: x, path_to_py_file: x.py, class_name: X}}]\n"
        "user_limits: {max_wait_time_in_secs: 5}\n"
    )
    lost = " ".join(result.lost())
    assert "custom_models" in lost
    assert "user_limits.max_wait_time_in_secs = 5" in lost


def test_one_resource_may_stand_without_a_list() -> None:
    text = """
azure_open_ai:
  azure_endpoint: ""
  api_version: "2023-05-15"
  use_azure_ad: true
  azure_oai_models:
    - {unique_model_id: one, deployment_name_in_azure: d, model_type: chat, req_per_min: 10}
    - {unique_model_id: two, deployment_name_in_azure: p, model_type: images}
    - {req_per_min: 10}
"""
    result = from_llm_queue(text)
    assert list(result.settings.models) == ["one"]
    assert result.variables() == ["AZURE_API_BASE", "AZURE_API_KEY"]
    assert len(result.lost()) == 3


def test_a_file_without_deployments_is_refused() -> None:
    with pytest.raises(StartError, match="azure_endpoint and azure_oai_models"):
        llm_queue.read(tree_of("azure_open_ai: []"))
