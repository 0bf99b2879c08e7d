"""Sources of any shape: nothing but `StartError` comes of them, and no secret gets out."""

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StartError
from pipeline.importing import litellm, llm_queue
from pipeline.importing.told import shown
from pipeline.importing.trying import tried
from pipeline.importing.written import as_yaml
from pipeline.settings.file import Tree

SECRET = "hushZ9"
SCALARS = st.none() | st.booleans() | st.integers(-5, 900) | st.floats() | st.text(max_size=8)
ODD = st.one_of(
    SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.text(max_size=4), SCALARS)
)
MODELS = st.sampled_from(
    [
        "gpt-4o",
        "openai/x",
        "azure/y",
        "groq/z",
        "groq/*",
        "*",
        "claude-x",
        "bedrock/b",
        "a\nb",
        "x/",
    ]
)
NAMES = st.sampled_from(["a", "b", "c", "c\nd"])
PARAMS = st.fixed_dictionaries(
    {"model": MODELS},
    optional={
        key: ODD | st.just(f"os.environ/{key.upper()}") | st.integers(1, 99)
        for key in (
            *("api_key", "api_base", "api_version", "rpm", "tpm", "weight", "order", "timeout"),
            *("stream_timeout", "organization", "extra_headers", "input_cost_per_token", "seed"),
        )
    },
)
INFO = st.dictionaries(
    st.sampled_from(["max_input_tokens", "supports_vision", "mode", "base_model", "tokens"]), ODD
)
ENTRY = st.fixed_dictionaries(
    {"model_name": NAMES, "litellm_params": PARAMS}, optional={"model_info": INFO, "rpm": ODD}
)
CHAINS = st.lists(st.dictionaries(NAMES, st.lists(NAMES | ODD, max_size=3), max_size=2), max_size=3)
SECTION = st.dictionaries(
    st.sampled_from(
        [
            *("num_retries", "timeout", "allowed_fails", "cooldown_time", "routing_strategy"),
            *("redis_host", "redis_password", "master_key", "cache_params", "max_budget"),
            *("model_group_alias", "default_fallbacks", "request_timeout"),
        ]
    ),
    ODD,
)


@settings(max_examples=150, deadline=None)
@given(
    entries=st.lists(ENTRY | ODD, max_size=5),
    sections=st.lists(SECTION, min_size=3, max_size=3),
    chains=CHAINS,
)
def test_any_litellm_file_is_read_or_refused(
    entries: list[object], sections: list[Tree], chains: object
) -> None:
    tree: Tree = {
        "model_list": entries,
        "router_settings": {**sections[0], "fallbacks": chains},
        "litellm_settings": sections[1],
        "general_settings": sections[2],
    }
    try:
        imported = litellm.read(tree)
    except StartError:
        return
    text = as_yaml(imported, "a test")
    assert yaml.safe_load(text) == msgspec.to_builtins(imported.settings)
    assert all(line.startswith("#") for line in text.split("\n\n")[0].splitlines())
    tried(text, imported.samples)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["azure_open_ai", "user_limits", "scheduler_limits", "custom_models"]),
        st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "api_key": ODD,
                    "azure_endpoint": ODD,
                    "azure_oai_models": st.lists(
                        st.dictionaries(
                            st.sampled_from(
                                ["unique_model_id", "deployment_name_in_azure", "req_per_min"]
                            ),
                            ODD,
                        )
                        | ODD,
                        max_size=3,
                    ),
                },
            ),
            max_size=2,
        )
        | ODD,
    )
)
def test_any_llm_queue_file_is_read_or_refused(tree: Tree) -> None:
    try:
        imported = llm_queue.read(tree)
    except StartError:
        return
    text = as_yaml(imported, "a test")
    assert yaml.safe_load(text) == msgspec.to_builtins(imported.settings)


def test_no_secret_gets_out_of_any_place() -> None:
    key = f"{SECRET}-key"
    params = {
        "model": "groq/a",
        "api_key": key,
        "azure_ad_token": key,
        "aws_secret_access_key": key,
        "vertex_credentials": {"inner": key},
        "extra_headers": {"Authorization": f"Bearer {key}", "X-Team": f"sk-{key}"},
    }
    places = {
        "master_key": key,
        "database_url": f"postgresql://u:{key}@h/d",
        "alert_to_webhook_url": {"all": f"https://hooks.example/{key}"},
        "slack": f"https://hooks.example/services/{key}",
        "litellm_license": key,
        "redis_password": key,
        "redis_host": "h",
        "cache_params": {"password": key, "host": "h"},
        "langfuse_secret": key,
    }
    tree: Tree = {
        "model_list": [{"model_name": "a", "litellm_params": params}],
        "general_settings": dict(places),
        "router_settings": dict(places),
        "litellm_settings": dict(places),
        "environment_variables": {"ANYTHING": key},
        "credential_list": [{"credential_name": "c", "credential_values": {"api_key": key}}],
        "guardrails": [{"litellm_params": {"api_key": key}}],
    }
    imported = litellm.read(tree)
    assert SECRET not in as_yaml(imported, "a test")
    assert SECRET.encode() not in msgspec.json.encode(imported)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("a", 5, "5"),
        ("a", True, "true"),
        ("a", "word", '"word"'),
        ("a.api_key", "word", ""),
        ("a", "sk-something", "text of 12 characters"),
        ("a", "https://host.example/path/secret?x=1", '"https://host.example/…"'),
        ("a", ["x", 1], '["x", 1]'),
        ("a", {"x": 1, "token": "t"}, "{x: 1, token: …}"),
        ("a", [{"x": 1}], "[…]"),
        ("a", [1, 2, 3, 4, 5], "[1, 2, 3, 4, …]"),
    ],
)
def test_a_value_is_shown_unless_it_may_be_a_secret(path: str, value: object, said: str) -> None:
    assert shown(path, value) == said
