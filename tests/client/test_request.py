"""What a program asks for, as the event and the body that go into the pipeline."""

import msgspec
import pytest

from pipeline.client_request import Wishes, request_of
from pipeline.errors import BadRequest
from pipeline.event import Companion
from pipeline.preferences import ModelPreferences

_MESSAGES = [{"role": "user", "content": "Hi"}]


def _json(body: bytes) -> dict[str, object]:
    return msgspec.json.decode(body, type=dict[str, object])


def test_a_prompt_is_a_single_message_for_the_default_model() -> None:
    request = request_of(None, {"prompt": "Hi"}, "fast")
    assert _json(request.body) == {"model": "fast", "messages": _MESSAGES}
    assert (request.event.model, request.event.operation) == ("fast", "chat")
    assert (request.event.patient, request.event.priority, request.event.deadline) == (True, 0, 0)
    assert request.event.prompt_tokens > 0
    assert not request.is_named


def test_bytes_that_lack_nothing_stay_as_they_came() -> None:
    body = b'{ "model":"m", "messages":[{"role":"user","content":"Hi"}], "odd": 1.50 }'
    request = request_of(body, {}, "fast")
    assert request.body == body
    assert request.event.body_bytes == len(body)


def test_wishes_for_the_provider_go_into_the_body_and_no_others() -> None:
    body = {"model": "m", "messages": _MESSAGES, "max_tokens": 5, "user": "bob"}
    wishes: Wishes = {
        "model": "n", "stream": True, "parameters": {"max_tokens": 7, "seed": 1}, "priority": 3,
        "tenant": "acme", "session_id": "talk", "timeout_s": 9, "metadata": {"a": 1},
        "request_id": "job-1",
    }  # fmt: skip
    request = request_of(body, wishes, "fast")
    assert _json(request.body) == {**body, "model": "n", "max_tokens": 7, "seed": 1, "stream": True}
    event = request.event
    assert (event.id, event.model, event.stream, event.lane) == ("job-1", "n", True, "high")
    assert (event.tenant, event.user, event.session) == ("acme", "bob", "talk")
    assert event.deadline - event.created == pytest.approx(9)
    assert event.output_tokens == 7
    assert bytes(event.metadata) == b'{"a":1}'
    assert request.is_named


def test_a_request_says_what_it_needs_and_what_it_sticks_by() -> None:
    wishes: Wishes = {"prompt": "Hi", "parameters": {"tools": [{}], "prompt_cache_key": "k"}}
    event = request_of(None, wishes, "fast").event
    assert event.needs == ("tools",)
    assert len(event.sticky) == 8
    plain = request_of(None, {"prompt": "Hi"}, "fast").event
    assert (plain.needs, plain.sticky) == ((), "")


def test_preferences_and_whom_it_follows_are_wishes_or_in_the_body() -> None:
    preferences = ModelPreferences(require_embedding_model=True, specific_llm_model="m")
    companion = Companion(model="", operation="embeddings")
    wished = request_of(
        None, {"prompt": "Hi", "model_preferences": preferences, "follows": "r0"}, "fast"
    ).event
    assert (wished.model, wished.also, wished.follows) == ("m", (companion,), "r0")
    body = {"messages": _MESSAGES, "model_preferences": {"require_embedding_model": True}}
    event = request_of(body, {}, "fast").event
    assert (event.model, event.also, event.follows) == ("fast", (companion,), "")


@pytest.mark.parametrize(
    "body",
    [
        {"model_preferences": {"num_llm_calls_per_req": 0}},
        {"model_preferences": {"unknown": 1}},
        {"model_preferences": {"require_llm_model": False}},
        {"follows": "no id!"},
    ],
)
def test_what_cannot_be_preferred_or_followed_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        request_of({"messages": _MESSAGES, **body}, {}, "fast")


def test_embeddings_have_a_usual_model_of_their_own() -> None:
    assert request_of({"input": "a"}, {}, "fast", "vectors").event.model == "vectors"
    assert request_of({"input": "a"}, {}, "fast").event.model == "fast"
    assert request_of(None, {"prompt": "a"}, "fast", "vectors").event.model == "fast"


def test_an_input_is_for_embeddings() -> None:
    event = request_of({"input": ["a", "b"], "model": "e"}, {}, "fast").event
    assert (event.operation, event.stream) == ("embeddings", False)


@pytest.mark.parametrize(
    ("body", "wishes", "what"),
    [
        (None, {}, "is needed"),
        (b"{", {}, "not valid"),
        (b"[]", {}, "not valid"),
        (b'{"a": "\xff"}', {}, "not valid"),
        (b'{"messages": ' + b"[" * 100_000, {}, "not valid"),
        ({"messages": _MESSAGES}, {"prompt": "Hi"}, "two ways"),
        (None, {"prompt": "Hi", "priority": 11}, "priority"),
        (None, {"prompt": "Hi", "request_id": "a b"}, "request_id"),
        (None, {"prompt": "Hi", "request_id": "a\n"}, "request_id"),
        (None, {"prompt": "Hi", "session_id": "a/b"}, "session_id"),
        (None, {"prompt": "Hi", "timeout_s": 0}, "timeout_s"),
        (None, {"prompt": "Hi", "user": "u" * 257}, "user"),
        ({"messages": _MESSAGES, "user": "u" * 257}, {}, "user"),
        (None, {"prompt": 5}, "prompt"),
    ],
)
def test_what_is_no_request_is_refused_by_name(
    body: dict[str, object] | bytes | None, wishes: Wishes, what: str
) -> None:
    with pytest.raises(BadRequest, match=what):
        request_of(body, wishes, "fast")


def test_an_argument_that_does_not_exist_is_no_wish() -> None:
    with pytest.raises(TypeError, match="promt"):
        request_of(None, {"promt": "Hi"}, "fast")  # type: ignore[typeddict-unknown-key]


def test_a_key_is_the_tenants_own_and_stands_for_one_body() -> None:
    def once(prompt: str, tenant: str, key: str) -> tuple[str, str]:
        wishes: Wishes = {"prompt": prompt, "tenant": tenant, "idempotency_key": key}
        known = request_of(None, wishes, "fast").once
        assert known is not None
        assert key not in known.key
        return known.key, known.fingerprint

    key, fingerprint = once("a", "t", "key-1")
    assert once("a", "t", "key-1") == (key, fingerprint)
    assert once("b", "t", "key-1")[0] == key
    assert once("b", "t", "key-1")[1] != fingerprint
    assert once("a", "u", "key-1")[0] != key
    assert once("a", "t", "key-2")[0] != key
