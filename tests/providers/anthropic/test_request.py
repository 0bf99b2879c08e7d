"""Every field of a request: translated, left out on purpose, or refused by name."""

import httpx
import msgspec
import pytest

from pipeline.errors import UpstreamError
from tests.providers.anthropic.translated import HI, Fields, call_of, refused, sent
from workers.providers.anthropic.translation import Anthropic
from workers.providers.form import HINTS
from workers.providers.openai import OWN_FIELDS

WEATHER: Fields = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells it.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": True,
    },
}
TIME: Fields = {"type": "function", "function": {"name": "time"}}
SCHEMA: Fields = {"type": "object", "properties": {"n": {"type": "integer"}}}
NAMED: Fields = {"type": "function", "function": {"name": "time"}}


def schema_format(**more: object) -> Fields:
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, **more}}


def header_of(**changes: object) -> httpx.Headers:
    return Anthropic().request(call_of({"messages": HI}, **changes)).headers


def test_the_shortest_request_gets_what_anthropic_wants_besides() -> None:
    assert sent() == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 32_000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": False,
    }


def test_the_headers_are_anthropics_and_configured_ones_win() -> None:
    headers = header_of()
    assert headers["x-api-key"] == "sk-ant-secret"
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers
    assert header_of(api_version="2026-10-21")["anthropic-version"] == "2026-10-21"
    own = (("anthropic-beta", "context-1m-2025-08-07"), ("Anthropic-Version", "2026-10-21"))
    headers = header_of(headers=own, key="")
    assert headers["anthropic-beta"] == "context-1m-2025-08-07"
    assert headers.get_list("anthropic-version") == ["2026-10-21"]
    assert "x-api-key" not in headers


def test_the_address_is_below_a_base_without_a_version() -> None:
    request = Anthropic().request(call_of({"messages": HI}, base_url="http://127.0.0.1:1/"))
    assert str(request.url) == "http://127.0.0.1:1/v1/messages"


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-sonnet-20241022", 8192),
        ("claude-3-7-sonnet-20250219", 32_000),
        ("claude-opus-4-20250514", 32_000),
        ("a-name-of-our-own", 32_000),
    ],
)
def test_the_most_tokens_follow_the_model_unless_they_are_given(model: str, most: int) -> None:
    assert sent(model=model)["max_tokens"] == most
    assert sent({"max_tokens": 7}, model=model)["max_tokens"] == 7
    assert sent({"max_tokens": 7, "max_completion_tokens": 8}, model=model)["max_tokens"] == 8


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"top_p": 0.25}, {"top_p": 0.25}),
        ({"top_k": 5}, {"top_k": 5}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"metadata": {"user_id": "m", "topic": "x"}}, {"metadata": {"user_id": "m"}}),
        ({"service_tier": "auto"}, {"service_tier": "auto"}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"service_tier": "priority"}, {"service_tier": "auto"}),
        ({"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
        (
            {"response_format": schema_format(strict=True, description="A number.")},
            {
                "output_config": {
                    "format": {
                        "type": "json_schema",
                        "schema": {**SCHEMA, "description": "A number."},
                    }
                }
            },
        ),
    ],
)
def test_a_field_has_its_counterpart(given: Fields, expected: Fields) -> None:
    assert sent(given) == {**sent(), **expected}


@pytest.mark.parametrize(
    "given",
    [
        *({"temperature": 1}, {"top_p": 1.0}, {"n": 1}, {"presence_penalty": 0}),
        *({"frequency_penalty": 0.0}, {"logprobs": False}, {"top_logprobs": 0}),
        *({"logit_bias": {}}, {"verbosity": "medium"}, {"modalities": ["text"]}),
        *({"functions": []}, {"tools": []}, {"stop": []}, {"seed": None}, {"tool_choice": "auto"}),
        *({"tool_choice": "none"}, {"parallel_tool_calls": False}, {"stop": None}),
        *({"response_format": {"type": "text"}}, {"metadata": {"topic": "x"}}),
        *({"service_tier": "flex"}, {"user": None}),
        *({name: "x"} for name in ("prompt_cache_key", "store", "prediction")),
        {"stream_options": {"include_usage": True}},
    ],
    ids=str,
)
def test_what_asks_for_nothing_is_left_out(given: Fields) -> None:
    assert sent(given) == sent()


def test_our_own_fields_stay_here() -> None:
    assert sent(dict.fromkeys(OWN_FIELDS, "x")) == sent()


def test_every_hint_is_left_out_or_has_its_place() -> None:
    placed = {"metadata", "safety_identifier", "service_tier", "user"}
    for name in HINTS - placed - {"stream"}:
        assert sent({name: {}}) == sent()


@pytest.mark.parametrize(
    "given",
    [
        *({"n": 2}, {"seed": 1}, {"presence_penalty": 0.5}, {"frequency_penalty": -1}),
        *({"logprobs": True}, {"top_logprobs": 3}, {"logit_bias": {"50256": -100}}),
        *({"verbosity": "low"}, {"modalities": ["text", "audio"]}, {"audio": {"voice": "x"}}),
        *({"web_search_options": {}}, {"functions": [{"name": "f"}]}, {"function_call": "auto"}),
        *({"temperature": 1.01}, {"temperature": 2}, {"mystery": 1}, {"stop_sequences": ["x"]}),
    ],
    ids=str,
)
def test_what_cannot_be_expressed_is_refused_by_its_name(given: Fields) -> None:
    failure = refused(given)
    assert failure.param == next(iter(given))
    assert str(failure.param) in failure.message


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "Only this."}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "x", "colour": 1}]}, "messages[0].colour"),
        ({"messages": "hi"}, "messages"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": schema_format(schema=None)}, "response_format"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": "many"}, "max_tokens"),
    ],
)
def test_what_is_malformed_is_refused_where_it_is(given: Fields, param: str) -> None:
    assert refused(given).param == param


@pytest.mark.parametrize("body", [b"[]", b"", b"{", b'"x"'])
def test_a_body_that_is_no_object_is_refused_here(body: bytes) -> None:
    with pytest.raises(UpstreamError) as raised:
        Anthropic().request(call_of({}, body=body))
    assert raised.value.failure().status == 400


def test_embeddings_are_refused() -> None:
    with pytest.raises(UpstreamError, match="no embeddings") as raised:
        Anthropic().request(call_of({"input": "a"}, operation="embeddings"))
    assert raised.value.failure().status == 400


def test_tools_become_tools_with_their_schemas() -> None:
    cached = {**TIME, "cache_control": {"type": "ephemeral"}}
    assert sent({"tools": [WEATHER, cached]})["tools"] == [
        {
            "name": "weather",
            "description": "Tells it.",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
            "strict": True,
        },
        {
            "name": "time",
            "input_schema": {"type": "object", "properties": {}},
            "cache_control": {"type": "ephemeral"},
        },
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", {"type": "none"}),
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        (NAMED, {"type": "tool", "name": "time"}),
    ],
)
def test_the_choice_of_a_tool_has_its_counterpart(choice: object, expected: Fields) -> None:
    tools = [WEATHER, TIME]
    assert sent({"tools": tools, "tool_choice": choice})["tool_choice"] == expected
    single = sent({"tools": tools, "tool_choice": choice, "parallel_tool_calls": False})[
        "tool_choice"
    ]
    alone = {} if choice == "none" else {"disable_parallel_tool_use": True}
    assert single == {**expected, **alone}


def test_one_call_at_a_time_can_be_asked_without_a_choice() -> None:
    assert "tool_choice" not in sent({"tools": [TIME], "parallel_tool_calls": True})
    expected = {"type": "auto", "disable_parallel_tool_use": True}
    assert sent({"tools": [TIME], "parallel_tool_calls": False})["tool_choice"] == expected


def test_of_allowed_tools_only_those_are_sent() -> None:
    allowed = {"mode": "required", "tools": [NAMED]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    body = sent({"tools": [WEATHER, TIME], "tool_choice": choice})
    assert [tool["name"] for tool in msgspec.convert(body["tools"], list[Fields])] == ["time"]
    assert body["tool_choice"] == {"type": "any"}
    assert (
        refused({"tools": [WEATHER], "tool_choice": choice}).param
        == "tool_choice.allowed_tools.tools"
    )


def test_tools_that_were_called_are_told_of_and_cannot_be_called_again() -> None:
    function = {"name": "time", "arguments": "{}"}
    messages: list[Fields] = [
        *HI,
        {
            "role": "assistant",
            "tool_calls": [{"id": "a", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "Noon."},
    ]
    for choice in (None, "auto", "none"):
        body = sent({"messages": messages, "tool_choice": choice})
        assert body["tools"] == [{"name": "time", "input_schema": {"type": "object"}}]
        assert body["tool_choice"] == {"type": "none"}
    assert "tool_choice" not in sent({"messages": messages, "tools": [TIME]})


def test_no_message_holds_the_key() -> None:
    assert "sk-ant-secret" not in refused({"messages": [{"role": "sk-ant-secret"}]}).message
