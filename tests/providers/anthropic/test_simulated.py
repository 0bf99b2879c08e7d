"""The simulated provider in Anthropic's form: the official client reads it, faults are refused."""

from collections.abc import Iterator

import anthropic
import httpx
import msgspec
import pytest
from anthropic.types import TextBlock, ThinkingBlock, ToolUseBlock

from tests.providers.anthropic.translated import Fields
from tests.providers.simulated_process import SimulatedProcess

PATH = "/v1/messages"
HEADERS = {"anthropic-version": "2023-06-01", "x-api-key": "k"}
ASKED: Fields = {
    "model": "sim",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "hello"}],
}
TOOL: Fields = {"name": "f", "input_schema": {"type": "object"}}


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    with SimulatedProcess() as process:
        yield process


@pytest.fixture(scope="module")
def client(simulated: SimulatedProcess) -> Iterator[anthropic.Anthropic]:
    base = simulated.url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=base, api_key="k", max_retries=0) as made:
        yield made


def ask(simulated: SimulatedProcess, **changes: object) -> httpx.Response:
    return simulated.http.post(PATH, json={**ASKED, **changes}, headers=HEADERS)


def error_of(response: httpx.Response) -> Fields:
    told = msgspec.json.decode(response.content)
    assert told["type"] == "error"
    assert told["request_id"] == response.headers["request-id"]
    return msgspec.convert(told["error"], Fields)


def test_the_official_client_reads_a_whole_message(client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        model="sim:tokens=8", max_tokens=100, messages=[{"role": "user", "content": "hi"}]
    )
    [block] = message.content
    assert isinstance(block, TextBlock)
    assert len(block.text) == 32
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 8)
    assert message._request_id == f"req_{message.id.removeprefix('msg_')}"


def test_the_official_client_reads_a_stream_with_thoughts(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model="sim:tokens=8",
        max_tokens=3000,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[{"role": "user", "content": "hi"}],
    ) as stream:
        texts = list(stream.text_stream)
        message = stream.get_final_message()
    first, second = message.content
    assert isinstance(first, ThinkingBlock)
    assert isinstance(second, TextBlock)
    assert first.thinking
    assert first.signature
    assert len(texts) == 8
    assert "".join(texts) == second.text
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens == 8 + message.usage.output_tokens_details.thinking_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_must_be_called_is_called(client: anthropic.Anthropic, stream: bool) -> None:
    with client.messages.stream(
        model="sim:tokens=9",
        max_tokens=100,
        tools=[{"name": "f", "input_schema": {"type": "object"}}],
        tool_choice={"type": "any"},
        messages=[{"role": "user", "content": 'a "quoted" é word'}],
    ) as streamed:
        message = streamed.get_final_message()
    if not stream:
        message = client.messages.create(
            model="sim:tokens=9",
            max_tokens=100,
            tools=[{"name": "f", "input_schema": {"type": "object"}}],
            tool_choice={"type": "tool", "name": "f"},
            messages=[{"role": "user", "content": 'a "quoted" é word'}],
        )  # type: ignore[assignment]
    [block] = message.content
    assert isinstance(block, ToolUseBlock)
    assert (block.name, message.stop_reason) == ("f", "tool_use")
    assert len(str(block.input["text"])) == 36


def test_the_most_tokens_cut_an_answer(simulated: SimulatedProcess) -> None:
    told = ask(simulated, max_tokens=3).json()
    assert (told["stop_reason"], told["usage"]["output_tokens"]) == ("max_tokens", 3)


def test_the_official_client_lists_the_models(
    client: anthropic.Anthropic, simulated: SimulatedProcess
) -> None:
    assert [model.id for model in client.models.list()] == ["fast", "quality", "sim"]
    assert client.models.retrieve("fast").lifecycle == "active"
    assert simulated.http.get("/v1/models").json()["object"] == "list"


@pytest.mark.parametrize(
    "changes",
    [
        *({"max_tokens": None}, {"messages": []}, {"temperature": 1.5}, {"mystery": 1}),
        *({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"model": ""}),
        *(
            {"tool_choice": {"type": "any"}},
            {"stop_sequences": [""]},
            {"system": [{"type": "x", "text": "x"}]},
        ),
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        {
            "messages": [
                *({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}),
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]},
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}],
                },
                {"role": "user", "content": "x"},
            ]
        },
    ],
    ids=str,
)
def test_a_body_that_the_api_would_refuse_is_refused(
    simulated: SimulatedProcess, changes: Fields
) -> None:
    response = ask(simulated, **changes)
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("headers", "status", "kind"),
    [
        ({"x-api-key": "k"}, 400, "invalid_request_error"),
        ({"anthropic-version": "2023-06-01"}, 401, "authentication_error"),
        ({"anthropic-version": "2026-10-21", "authorization": "Bearer k"}, 200, ""),
    ],
)
def test_the_headers_are_checked(
    simulated: SimulatedProcess, headers: dict[str, str], status: int, kind: str
) -> None:
    response = simulated.http.post(PATH, json=ASKED, headers=headers)
    assert response.status_code == status
    if kind:
        assert error_of(response)["type"] == kind


def test_the_new_version_knows_no_temperature(simulated: SimulatedProcess) -> None:
    headers = {**HEADERS, "anthropic-version": "2026-10-21"}
    body = {**ASKED, "temperature": 1}
    assert simulated.http.post(PATH, json=body, headers=headers).status_code == 400
    assert ask(simulated, temperature=1).status_code == 200


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (418, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_errors_are_told_as_anthropic_does(
    simulated: SimulatedProcess, status: int, kind: str
) -> None:
    response = ask(simulated, model=f"sim:error={status},retry_after_ms=1500")
    assert response.status_code == status
    assert error_of(response)["type"] == kind
    assert response.headers["retry-after"] == "2"


def test_a_spent_quota_has_its_code(simulated: SimulatedProcess) -> None:
    response = ask(simulated, simulate={"quota": True})
    assert response.status_code == 429
    assert error_of(response)["details"] == {"error_code": "enforced_spend_limit_reached"}


def test_limits_are_told_in_anthropics_headers(simulated: SimulatedProcess) -> None:
    headers = ask(simulated, model="sim:rpm=60,tpm=6000").headers
    assert headers["anthropic-ratelimit-requests-limit"] == "60"
    assert headers["anthropic-ratelimit-requests-remaining"] == "59"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("+00:00")
    assert int(headers["anthropic-ratelimit-tokens-remaining"]) < 6000
    assert not any(name.startswith("x-ratelimit") for name in headers)


def test_another_path_or_method_is_refused(simulated: SimulatedProcess) -> None:
    assert simulated.http.get(PATH, headers=HEADERS).status_code == 405
    assert simulated.http.post("/v1/complete", json={}, headers=HEADERS).status_code == 404
