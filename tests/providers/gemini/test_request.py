"""Each field of a chat request: where it goes, or that it is refused by name."""

import msgspec
import pytest

from pipeline.errors import UpstreamError
from tests.providers.gemini.ground import HELLO, KEY, call, config, refused, request_of, sent
from workers.providers.form import HINTS
from workers.providers.gemini.translation import Gemini
from workers.providers.openai import OWN_FIELDS

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells it",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
NAMED = {"type": "function", "function": {"name": "clock"}}


def test_the_address_holds_the_model_and_no_key() -> None:
    request = request_of()
    assert str(request.url) == "https://g.example/v1beta/models/gemini-2.5-flash:generateContent"
    assert request.headers["x-goog-api-key"] == KEY
    assert "authorization" not in request.headers


def test_a_stream_is_asked_for_by_the_address() -> None:
    body = msgspec.json.encode({"messages": [HELLO], "stream": True, "stream_options": {}})
    request = Gemini().request(call(body=body, stream=True))
    assert str(request.url).endswith("/gemini-2.5-flash:streamGenerateContent?alt=sse")
    assert request.headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-2.5-pro", "/v1beta/models/gemini-2.5-pro:generateContent"),
        ("tunedModels/mine-1", "/v1beta/tunedModels/mine-1:generateContent"),
        ("a b?", "/v1beta/models/a%20b%3F:generateContent"),
    ],
)
def test_a_models_name_is_a_resource_of_the_address(model: str, path: str) -> None:
    assert request_of(model).url.raw_path.decode() == path


def test_a_base_url_may_name_the_apis_version() -> None:
    body = msgspec.json.encode({"messages": [HELLO]})
    for base in ("https://g.example/v1alpha", "https://g.example/v1alpha/"):
        request = Gemini().request(call(body=body, base_url=base))
        assert request.url.path == "/v1alpha/models/gemini-2.5-flash:generateContent"


def test_configured_headers_win_and_no_key_means_no_header() -> None:
    body = msgspec.json.encode({"messages": [HELLO]})
    own = (("X-Goog-Api-Key", "mine"), ("X-Org", "o"))
    headers = Gemini().request(call(body=body, headers=own)).headers
    assert headers.get_list("x-goog-api-key") == ["mine"]
    assert headers["x-org"] == "o"
    assert "x-goog-api-key" not in Gemini().request(call(body=body, key="")).headers


def test_the_shortest_request_has_no_other_fields() -> None:
    assert sent() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def test_hints_and_our_own_fields_stay_here() -> None:
    asked = dict.fromkeys([*HINTS, *OWN_FIELDS], "x")
    assert sent(**asked).keys() == {"contents"}


def test_null_is_as_if_it_were_not_there() -> None:
    names = ("temperature", "tools", "tool_choice", "logit_bias", "audio", "stop", "top_a")
    assert sent(**dict.fromkeys(names)).keys() == {"contents"}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 0.9}, {"topP": 0.9}),
        ({"top_k": 40}, {"topK": 40}),
        ({"n": 2}, {"candidateCount": 2}),
        ({"seed": 7}, {"seed": 7}),
        ({"presence_penalty": 0.5}, {"presencePenalty": 0.5}),
        ({"frequency_penalty": -0.5}, {"frequencyPenalty": -0.5}),
        ({"presence_penalty": 0, "frequency_penalty": 0.0}, None),
        ({"max_tokens": 10}, {"maxOutputTokens": 10}),
        ({"max_completion_tokens": 20, "max_tokens": 10}, {"maxOutputTokens": 20}),
        ({"max_completion_tokens": 5, "max_tokens": None}, {"maxOutputTokens": 5}),
        ({"stop": "END"}, {"stopSequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stopSequences": ["a", "b"]}),
        ({"logprobs": True}, {"responseLogprobs": True}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"logprobs": False}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        ({"modalities": ["text"]}, None),
        ({"modalities": ["text", "image"]}, {"responseModalities": ["TEXT", "IMAGE"]}),
        ({"verbosity": "medium", "parallel_tool_calls": True, "logit_bias": {}}, None),
    ],
)
def test_a_field_of_the_generation_goes_to_its_place(
    asked: dict[str, object], expected: object
) -> None:
    assert config(**asked) == expected


def test_a_schema_for_the_answer_goes_as_json_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {}}}
    asked = {"name": "answer", "description": "d", "strict": True, "schema": schema}
    assert config(response_format={"type": "json_schema", "json_schema": asked}) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": schema,
    }


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash", "low", {"thinkingBudget": 1024}),
        ("gemini-2.5-flash", "high", {"thinkingBudget": 24576}),
        ("gemini-flash-latest", "medium", {"thinkingBudget": 8192}),
        ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "minimal"}),
        ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "low"}),
        ("models/gemini-3-pro-preview", "high", {"thinkingLevel": "high"}),
    ],
)
def test_an_effort_is_a_budget_or_from_gemini_3_on_a_level(
    model: str, effort: str, thinking: object
) -> None:
    assert config(model, reasoning_effort=effort) == {"thinkingConfig": thinking}


@pytest.mark.parametrize("place", ["google", "extra_body"])
def test_googles_additions_are_taken_as_googles_own_endpoint_takes_them(place: str) -> None:
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    google = {
        "thinking_config": {"include_thoughts": True, "thinking_budget": 99},
        "safety_settings": settings,
    }
    body = sent(**{place: google if place == "google" else {"google": google}})
    assert body["safetySettings"] == settings
    thinking = {"includeThoughts": True, "thinkingBudget": 99}
    assert body["generationConfig"] == {"thinkingConfig": thinking}


def test_functions_are_declared_with_their_schema_as_it_is() -> None:
    parameters = WEATHER["function"]["parameters"]  # type: ignore[index]
    body = sent(tools=[WEATHER, CLOCK])
    declared = {"name": "weather", "description": "Tells it", "parametersJsonSchema": parameters}
    assert body["tools"] == [{"functionDeclarations": [declared, {"name": "clock"}]}]
    assert "toolConfig" not in body


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (NAMED, {"mode": "ANY", "allowedFunctionNames": ["clock"]}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}},
            {"mode": "ANY", "allowedFunctionNames": ["clock"]},
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}},
            {"mode": "VALIDATED", "allowedFunctionNames": ["clock"]},
        ),
    ],
)
def test_a_choice_of_tools_is_a_mode(choice: object, expected: object) -> None:
    body = sent(tools=[WEATHER, CLOCK], tool_choice=choice)
    assert body["toolConfig"] == {"functionCallingConfig": expected}


def test_strict_functions_want_their_schema_kept_to() -> None:
    strict = {"type": "function", "function": {"name": "weather", "strict": True}}
    body = sent(tools=[strict], tool_choice="auto")
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}


def test_a_choice_without_tools_says_nothing() -> None:
    assert sent(tool_choice="auto", tools=[]).keys() == {"contents"}


@pytest.mark.parametrize(
    ("param", "asked"),
    [
        ("logit_bias", {"logit_bias": {"50256": -100}}),
        ("parallel_tool_calls", {"parallel_tool_calls": False}),
        ("verbosity", {"verbosity": "low"}),
        ("audio", {"audio": {"voice": "alloy", "format": "mp3"}}),
        ("web_search_options", {"web_search_options": {}}),
        ("functions", {"functions": [{"name": "f"}]}),
        ("function_call", {"function_call": "auto"}),
        ("top_logprobs", {"top_logprobs": 2}),
        ("modalities", {"modalities": ["audio"]}),
        ("reasoning_effort", {"reasoning_effort": "xhigh"}),
        ("reasoning_effort", {
            "reasoning_effort": "low", "google": {"thinking_config": {"thinking_budget": 1}}}),
        ("temperature", {"temperature": "hot"}),
        ("tool_choice", {"tool_choice": "perhaps"}),
        ("tools[0].type", {"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
        ("tools[0].function.foo", {"tools": [{"type": "function", "function": {
            "name": "f", "foo": 1}}]}),
        ("response_format.type", {"response_format": {"type": "grammar"}}),
        ("google.thought_tag_marker", {"google": {"thought_tag_marker": "t"}}),
        ("extra_body.google.cached_content", {"google": {"cached_content": "cachedContents/1"}}),
        ("simulate", {"simulate": {}}),
        ("messages", {"messages": 1}),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_by_its_name(param: str, asked: dict[str, object]) -> None:
    failure = refused(**asked)
    assert failure.param == param


def test_gemini_3_cannot_be_told_not_to_think() -> None:
    assert refused("gemini-3-flash", reasoning_effort="none").param == "reasoning_effort"


@pytest.mark.parametrize("body", [b"[]", b"", b"{", b'"x"', b"\xff"])
def test_a_body_that_is_no_object_is_refused_here(body: bytes) -> None:
    with pytest.raises(UpstreamError) as raised:
        Gemini().request(call(body=body))
    assert raised.value.failure().cause == "bad_request"
