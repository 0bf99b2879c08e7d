"""What the kinds that speak OpenAI's form differ in, beyond what all forms are held to."""

import msgspec
import pytest

from pipeline.errors import UpstreamError
from pipeline.settings.differences import KNOWN, Differences
from tests.providers.test_upstream import answering, complete, failure_of
from workers.providers.base import ProviderCall
from workers.providers.openai import body_of
from workers.providers.vectors import base64_of

VECTORS = {
    "object": "list",
    "data": [{"index": 0, "embedding": [1.0, -0.5]}, {"index": 1, "embedding": [2, 1e-3]}],
    "model": "e-1",
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}


def sent(like: str, **fields: object) -> dict[str, object]:
    """Give what a known provider is sent of a request."""
    body = {"model": "fast", "messages": [], **fields}
    call = ProviderCall(
        request_id="r",
        base_url="http://h",
        kind="compatible",
        model="m-1",
        body=msgspec.json.encode(body),
        stream=bool(fields.get("stream")),
        differs=msgspec.convert(KNOWN[like].differs, Differences),
    )
    found: dict[str, object] = msgspec.json.decode(body_of(call))
    return found


def test_openrouter_tells_what_a_call_cost() -> None:
    body = b"""{"id":"g","model":"x","provider":"p","choices":[{"index":0,"finish_reason":"stop",
        "message":{"role":"assistant","content":"Yes."}}],
        "usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"cost":0.00042}}"""
    reply, _ = complete(answering(200, body), kind="openrouter")
    assert reply.usage is not None
    assert reply.usage.cost == 0.00042
    assert reply.response == body


@pytest.mark.parametrize("like", KNOWN)
def test_what_goes_without_saying_is_refused_by_nobody(like: str) -> None:
    fields = {"n": 1, "logprobs": False, "tool_choice": "auto", "stop": None, "logit_bias": {}}
    kept = sent(like, **fields)
    assert {"model", "messages", "stream"} <= set(kept)


@pytest.mark.parametrize(
    ("like", "field", "value"),
    [
        ("groq", "logprobs", True),
        ("groq", "n", 2),
        ("perplexity", "tools", [{"type": "function", "function": {"name": "f"}}]),
        ("perplexity", "stop", ["x"]),
        ("cohere", "parallel_tool_calls", False),
        ("ollama", "tool_choice", "required"),
        ("deepseek", "logit_bias", {"5": 1}),
        ("mistral", "top_logprobs", 2),
    ],
)
def test_what_a_provider_would_lose_is_refused_by_name(
    like: str, field: str, value: object
) -> None:
    with pytest.raises(UpstreamError) as raised:
        sent(like, **{field: value})
    failure = raised.value.failure()
    assert (failure.status, failure.cause, failure.param) == (400, "bad_request", field)
    assert not raised.value.sent
    assert field in failure.message


def test_mistral_is_spoken_to_in_its_own_words() -> None:
    found = sent(
        "mistral",
        max_completion_tokens=5,
        seed=7,
        user="u",
        store=False,
        stream=True,
        stream_options={"include_usage": True},
        safe_prompt=True,
    )
    assert found == {
        "model": "m-1",
        "messages": [],
        "max_tokens": 5,
        "random_seed": 7,
        "stream": True,
        "safe_prompt": True,
    }


def test_a_field_by_both_names_is_taken_when_they_agree() -> None:
    found = sent("mistral", max_completion_tokens=5, max_tokens=5)
    assert found["max_tokens"] == 5
    assert "max_completion_tokens" not in found


def test_numbers_are_packed_where_the_client_asked_for_base64() -> None:
    body = b'{"input":["a",[1,2]],"encoding_format":"base64"}'
    reply, here = complete(
        answering(200, msgspec.json.encode(VECTORS)),
        operation="embeddings",
        body=body,
        differs=Differences(base64=False),
    )
    assert "encoding_format" not in msgspec.json.decode(here.requests[0].body)
    told = msgspec.json.decode(reply.response)
    assert [one["embedding"] for one in told["data"]] == ["AACAPwAAAL8=", base64_of([2, 1e-3])]
    assert told["usage"] == VECTORS["usage"]
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 2


@pytest.mark.parametrize(
    "body", [b'{"input":["a","b"]}', b'{"input":["a","b"],"encoding_format":"float"}']
)
def test_numbers_stay_numbers_where_the_client_asked_for_them(body: bytes) -> None:
    answer = msgspec.json.encode(VECTORS)
    reply, _ = complete(answering(200, answer), operation="embeddings", body=body)
    assert reply.response == answer


@pytest.mark.parametrize(
    "given", ['"a"', "[1,2,3]", '["a"]', "[[1,2]]", '["a","b","c"]', "[[1],[2],[3]]", '[ "a" ]']
)
def test_as_many_vectors_as_inputs_or_none(given: str) -> None:
    body = b'{"input":%b}' % given.encode()
    failure = failure_of(
        answering(200, msgspec.json.encode(VECTORS)), operation="embeddings", body=body
    )
    assert failure.cause == "network"
    assert "2 embeddings for" in failure.message


@pytest.mark.parametrize("given", ['["a","b"]', "[[1,2],[3]]", ' [ "a", [1, 2] ]'])
def test_two_inputs_have_two_vectors(given: str) -> None:
    body = b'{"input":%b}' % given.encode()
    answer = msgspec.json.encode(VECTORS)
    assert complete(answering(200, answer), operation="embeddings", body=body)[0].response == answer


@pytest.mark.parametrize("data", [b"[1,2]", b'[{"embedding":1},{"embedding":2}', b'["a","b"]'])
def test_vectors_that_are_none_are_a_failure(data: bytes) -> None:
    body = b'{"input":["a","b"],"encoding_format":"base64"}'
    answer = b'{"data":%b}' % data
    failure = failure_of(answering(200, answer), operation="embeddings", body=body)
    assert failure.cause == "network"
