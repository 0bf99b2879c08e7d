"""Whole answers: each part, finish reason and count in OpenAI's form, and what is no answer."""

import msgspec
import pytest

from pipeline.event import Usage
from tests.providers.gemini.ground import (
    Json,
    choice_of,
    failure_of,
    generated,
    message_of,
    reply_to,
)

CALL: Json = {"functionCall": {"name": "f", "args": {"a": [1, 2.5]}}}


def test_a_whole_answer_is_a_completion() -> None:
    reply = reply_to(generated({"text": "Hel"}, {"text": "lo"}))
    response = msgspec.json.decode(reply.response)
    assert response.pop("created") > 1_700_000_000
    assert response == {
        "id": "resp1",
        "object": "chat.completion",
        "model": "gemini-2.5-flash",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }
    assert (reply.model, reply.upstream_id, reply.finish_reason) == (
        "gemini-2.5-flash", "resp1", "stop",
    )  # fmt: skip
    assert not reply.empty


def test_candidates_are_choices_by_their_index() -> None:
    answer = dict(generated({"text": "b"}, index=1))
    first = generated({"text": "a"})["candidates"]
    assert isinstance(first, list)
    answer["candidates"] = [*answer["candidates"], *first]  # type: ignore[misc]
    choices = msgspec.json.decode(reply_to(answer).response)["choices"]
    assert [(one["index"], one["message"]["content"]) for one in choices] == [(0, "a"), (1, "b")]


def test_thoughts_are_told_as_reasoning() -> None:
    thought = {"text": "Hm", "thought": True}
    assert message_of(thought, {"text": "Yes"}, {**thought, "text": "."}) == {
        "role": "assistant", "content": "Yes", "reasoning_content": "Hm.",
    }  # fmt: skip


def test_calls_have_ids_that_no_other_answer_has() -> None:
    message = message_of({"text": "I call"}, CALL, {"functionCall": {"name": "g", "id": "own"}})
    assert message["content"] == "I call"
    assert message["tool_calls"] == [
        {
            "id": "call_resp1_0_0",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a":[1,2.5]}'},
        },
        {"id": "own", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert choice_of(generated(CALL))["finish_reason"] == "tool_calls"
    assert choice_of(generated(CALL, finish="MAX_TOKENS"))["finish_reason"] == "length"


def test_signatures_come_with_the_call_or_the_message_that_they_sign() -> None:
    [call] = message_of({**CALL, "thoughtSignature": "c2ln"})["tool_calls"]  # type: ignore[misc]
    assert call["extra_content"] == {"google": {"thought_signature": "c2ln"}}  # type: ignore[has-type]
    message = message_of({"text": "Hi"}, {"text": "", "thoughtSignature": "bGFzdA=="})
    assert message["content"] == "Hi"
    assert message["extra_content"] == {"google": {"thought_signature": "bGFzdA=="}}


def test_images_are_told_as_openrouter_tells_them() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    assert message_of({"text": "Here:"}, image)["images"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"inlineData": {"mimeType": "audio/pcm", "data": "AA=="}},
        {"somethingNew": {}},
    ],
)
def test_content_of_another_kind_is_not_lost_unnoticed(part: Json) -> None:
    failure = failure_of(generated({"text": "see"}, part))
    assert failure.cause == "network"
    assert next(iter(part)) in failure.message


@pytest.mark.parametrize(
    ("reason", "finish", "native"),
    [
        ("STOP", "stop", None),
        ("MAX_TOKENS", "length", None),
        ("SAFETY", "content_filter", "SAFETY"),
        ("RECITATION", "content_filter", "RECITATION"),
        ("LANGUAGE", "content_filter", "LANGUAGE"),
        ("BLOCKLIST", "content_filter", "BLOCKLIST"),
        ("PROHIBITED_CONTENT", "content_filter", "PROHIBITED_CONTENT"),
        ("SPII", "content_filter", "SPII"),
        ("IMAGE_SAFETY", "content_filter", "IMAGE_SAFETY"),
        ("MALFORMED_FUNCTION_CALL", "stop", "MALFORMED_FUNCTION_CALL"),
        ("OTHER", "stop", "OTHER"),
        ("OF_TOMORROW", "stop", "OF_TOMORROW"),
    ],
)
def test_a_finish_reason_is_openais_and_the_other_is_told_beside(
    reason: str, finish: str, native: str | None
) -> None:
    choice = choice_of(generated({"text": "so far"}, finish=reason))
    assert choice["finish_reason"] == finish
    assert choice.get("native_finish_reason") == native


def test_an_answer_that_is_withheld_whole_is_no_failure() -> None:
    reply = reply_to({"candidates": [{"finishReason": "SAFETY", "index": 0}], "usageMetadata": {}})
    assert reply.finish_reason == "content_filter"
    assert not reply.empty
    [choice] = msgspec.json.decode(reply.response)["choices"]
    assert choice["message"]["content"] is None


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER"])
def test_a_slip_of_the_model_without_a_word_is_worth_another_try(reason: str) -> None:
    candidate = {"content": {}, "finishReason": reason, "finishMessage": "Malformed: f("}
    failure = failure_of({"candidates": [candidate]})
    assert (failure.cause, failure.code) == ("overloaded", "empty_completion")
    assert reason in failure.message
    assert "Malformed: f(" in failure.message


def test_a_missing_signature_is_the_requests_fault() -> None:
    failure = failure_of({"candidates": [{"finishReason": "MISSING_THOUGHT_SIGNATURE"}]})
    assert (failure.cause, failure.status) == ("bad_request", 400)


def test_tokens_spent_on_thoughts_alone_are_an_answer_cut_short() -> None:
    usage = {"promptTokenCount": 5, "thoughtsTokenCount": 90, "totalTokenCount": 95}
    reply = reply_to(generated(finish="MAX_TOKENS", usageMetadata=usage))
    assert (reply.finish_reason, reply.empty) == ("length", False)


def test_a_stop_without_a_word_or_a_token_is_empty() -> None:
    assert reply_to(generated(usageMetadata={"promptTokenCount": 5, "totalTokenCount": 5})).empty


def test_the_counts_are_openais() -> None:
    counted = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "toolUsePromptTokenCount": 10,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "totalTokenCount": 160,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
    }
    usage = reply_to(generated({"text": "a"}, usageMetadata=counted)).usage
    assert usage == Usage(
        prompt_tokens=110,
        completion_tokens=50,
        total_tokens=160,
        cached_tokens=60,
        reasoning_tokens=30,
    )


def test_log_probabilities_are_told_by_token() -> None:
    answer = dict(generated({"text": "hé"}))
    [candidate] = answer["candidates"]  # type: ignore[misc]
    candidate["logprobsResult"] = {  # type: ignore[has-type]
        "chosenCandidates": [{"token": "h", "logProbability": -0.5}, {"token": "é"}],
        "topCandidates": [{"candidates": [{"token": "H", "logProbability": -1, "tokenId": 3}]}],
    }
    assert choice_of(answer)["logprobs"] == {
        "content": [
            {
                "token": "h",
                "logprob": -0.5,
                "bytes": [104],
                "top_logprobs": [{"token": "H", "logprob": -1, "bytes": [72]}],
            },
            {"token": "é", "logprob": 0, "bytes": [195, 169], "top_logprobs": []},
        ]
    }


def test_a_prompt_that_is_blocked_is_refused_for_its_content() -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {}}
    failure = failure_of(blocked)
    assert (failure.cause, failure.status) == ("bad_request", 400)
    assert (failure.code, failure.param) == ("content_filter", "messages")
    assert "PROHIBITED_CONTENT" in failure.message


def test_ratings_of_a_prompt_that_is_not_blocked_say_nothing() -> None:
    feedback = {"safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT"}]}
    assert reply_to(generated({"text": "a"}, promptFeedback=feedback)).finish_reason == "stop"


def test_every_cut_of_an_answer_is_a_failure_of_the_network() -> None:
    body = msgspec.json.format(msgspec.json.encode(generated({"text": "Grüße"}, CALL)), indent=2)
    for cut in range(len(body)):
        assert failure_of(body[:cut]).cause == "network"
    assert reply_to(body + b"\n").finish_reason == "tool_calls"
