"""Reading entries: every form a producer may write, and what becomes of what is none."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import clock
from pipeline import event as events
from pipeline.event import Companion, Event
from pipeline.names import LANES, Lane
from pipeline.streams import intake
from tests.streams.rig import make_event

CHAT = {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}
SEED = {
    "request_id": "uuid-1",
    "prompt": "Tell me about Python",
    "model": "gemini-pro",
    "parameters": {"temperature": 0.7, "top_p": 0.95, "top_k": 40, "max_output_tokens": 2048},
    "callback_queue": "gemini.responses",
    "timestamp": "2025-01-01T00:00:00Z",
    "retry_count": 0,
}


def read(form: object, lane: Lane | None = "default", **fields: str) -> Event:
    payload = form if isinstance(form, bytes) else json.dumps(form).encode()
    pairs = [b"event", payload]
    for name, value in fields.items():
        pairs += [name.encode(), value.encode()]
    return intake.read(pairs, lane=lane, entry="7-1", default_model="usual")


def body_of(event: Event) -> dict[str, object]:
    body: dict[str, object] = msgspec.json.decode(event.body)
    return body


def test_an_openai_body_is_a_request() -> None:
    event = read(CHAT | {"temperature": 0.2, "x_unknown": [1]})
    assert (event.id, event.model, event.operation) == ("xadd-default-7-1", "fast", "chat")
    assert event.direct
    assert body_of(event) == CHAT | {"temperature": 0.2, "x_unknown": [1]}
    assert event.body_bytes == len(memoryview(event.body))


def test_the_seeds_message_is_a_request() -> None:
    event = read(SEED)
    assert (event.id, event.model, event.reply_to) == ("uuid-1", "gemini-pro", "gemini.responses")
    assert body_of(event) == {
        "model": "gemini-pro",
        "messages": [{"role": "user", "content": "Tell me about Python"}],
        "temperature": 0.7,
        "top_p": 0.95,
        "top_k": 40,
        "max_tokens": 2048,
    }


def test_a_system_instruction_comes_first() -> None:
    event = read({"prompt": "hi", "system_instruction": "be brief"})
    assert body_of(event)["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
    ]


def test_what_is_ours_does_not_reach_the_provider() -> None:
    ours = {
        "reply_to": "back",
        "priority": 3,
        "timeout_s": 9,
        "tenant": "acme",
        "session_id": "s1",
        "webhook": "https://example.org",
        "timestamp": "now",
        "retry_count": 2,
    }
    event = read(CHAT | ours | {"user": "u1", "metadata": {"k": "v"}})
    assert body_of(event) == CHAT | {"user": "u1", "metadata": {"k": "v"}}
    assert (event.tenant, event.user, event.session) == ("acme", "u1", "s1")
    assert (event.priority, event.reply_to) == (3, "back")
    assert bytes(event.metadata) == b'{"k": "v"}'
    assert event.deadline == pytest.approx(clock.now() + 9, abs=1)


def test_reply_to_is_taken_before_callback_queue() -> None:
    assert read(CHAT | {"reply_to": "a", "callback_queue": "b"}).reply_to == "a"


def test_an_own_parameter_does_not_overrule_the_body() -> None:
    event = read(CHAT | {"max_tokens": 1, "parameters": {"max_output_tokens": 2, "n": 3}})
    assert body_of(event) == CHAT | {"max_tokens": 1, "n": 3}


def test_an_input_without_messages_is_an_embedding() -> None:
    assert read({"model": "e", "input": ["a"]}).operation == "embeddings"


def test_a_request_says_how_many_tokens_it_may_need() -> None:
    event = read(SEED)
    assert event.output_tokens == 2048
    assert 10 <= event.prompt_tokens <= 60
    assert read(CHAT | {"max_output_tokens": 5, "n": 2}).output_tokens == 10
    longer = CHAT | {"messages": [{"role": "user", "content": "four" * 1000}]}
    assert 995 <= read(longer).prompt_tokens - read(CHAT).prompt_tokens <= 1000
    assert read({"model": "e", "input": [1, 2, 3]}).prompt_tokens == 3


def test_a_request_says_what_it_needs_and_what_it_sticks_by() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://h/i.png"}}
    asked = {"messages": [{"role": "user", "content": [image]}], "prompt_cache_key": "k"}
    event = read(CHAT | asked)
    assert event.needs == ("vision",)
    assert len(event.sticky) == 8
    assert body_of(event)["prompt_cache_key"] == "k"
    assert read(SEED | {"parameters": {"tools": [{"type": "function"}]}}).needs == ("tools",)
    plain = read(CHAT)
    assert (plain.needs, plain.sticky) == ((), "")
    vectors = read({"model": "m", "input": "x", "tools": [1], "prompt_cache_key": "k"})
    assert (vectors.needs, vectors.sticky) == ((), "")


def test_a_producers_preferences_and_whom_it_follows_stay_with_us() -> None:
    preferences = {
        "specific_llm_model": "talk", "num_llm_calls_per_req": 2,
        "require_embedding_model": True, "num_emb_calls_per_req": 3,
    }  # fmt: skip
    event = read(CHAT | {"model_preferences": preferences, "follows": "r0"})
    assert (event.model, event.calls, event.follows) == ("talk", 2, "r0")
    assert event.also == (Companion(model="", operation="embeddings", calls=3),)
    assert body_of(event) == CHAT | {"model": "talk"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"model_preferences": {"specific": "x"}}, "unknown field `specific`"),
        ({"model_preferences": {"num_emb_calls_per_req": 0}}, "num_emb_calls_per_req"),
        ({"model_preferences": {"require_llm_model": False}}, "this is a chat completion"),
        ({"follows": "no id!"}, "`follows`"),
    ],
)
def test_preferences_that_cannot_be_had_are_told(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(intake.Malformed, match=reason):
        read(CHAT | fields)


def test_the_user_is_named_as_in_openais_bodies() -> None:
    assert read(CHAT | {"user": "u", "safety_identifier": "s"}).user == "s"
    assert read(CHAT | {"user": "u" * 256}).user == "u" * 256


def test_a_missing_model_is_the_default_one_also_in_the_body() -> None:
    event = read({"prompt": "hi"})
    assert event.model == "usual"
    assert body_of(event)["model"] == "usual"


def test_a_stream_with_usage_is_asked_for_as_in_openais_form() -> None:
    event = read(CHAT | {"stream": True, "stream_options": {"include_usage": True}})
    assert (event.stream, event.include_usage) == (True, True)


@pytest.mark.parametrize("lane", LANES)
def test_the_stream_tells_the_priority_unless_the_request_does(lane: Lane) -> None:
    assert read(CHAT, lane).lane == lane
    assert read(CHAT | {"priority": 0}, lane).priority == 0


def test_null_is_as_good_as_absent() -> None:
    absent = dict.fromkeys(("request_id", "reply_to", "priority", "timeout_s", "stream", "user"))
    event = read(CHAT | absent)
    assert (event.id, event.reply_to, event.deadline) == ("xadd-default-7-1", "", 0.0)


def test_a_producers_trace_comes_in_a_field_of_the_entry() -> None:
    parent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    assert read(CHAT, traceparent=parent).traceparent == parent
    assert read(CHAT, traceparent="made up").traceparent == ""


@pytest.mark.parametrize("lane", [None, *LANES])
def test_our_own_form_is_read_on_every_stream(lane: Lane | None) -> None:
    event = make_event(priority=2, tenant="acme")
    assert read(events.encode(event), lane) == event


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (b"", "not a request"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"prompt":"\xc3("}', "not UTF-8"),
        (b"{", "not a request"),
        (b"[]", "Expected `object`"),
        (b"null", "Expected `object`"),
        (b'"text"', "Expected `object`"),
        (b"[" * 100_000, "Expected `object`"),
        (b'{"prompt":"x","a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"v":1,"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"v":1,"id":"x"}', "missing required field"),
        ({"model": "fast"}, "one of `messages`, `prompt` and `input`"),
        (CHAT | {"priority": 11}, "`priority` is 11"),
        (CHAT | {"priority": -11}, "`priority` is -11"),
        (CHAT | {"priority": 1.5}, "priority"),
        (CHAT | {"request_id": ""}, "`request_id` must match"),
        (CHAT | {"request_id": "a b"}, "`request_id` must match"),
        (CHAT | {"request_id": "x" * 129}, "`request_id` must match"),
        (CHAT | {"request_id": 7}, "request_id"),
        (CHAT | {"user": "u" * 257}, "256 are the most"),
        (CHAT | {"timeout_s": -1}, "`timeout_s` is -1"),
        (CHAT | {"timeout_s": 1e308}, "`timeout_s` is 1e+308"),
        (b'{"prompt":"x","timeout_s":1e999}', "timeout_s"),
        (CHAT | {"model": 5}, "model"),
        (CHAT | {"parameters": "hot"}, "parameters"),
        (CHAT | {"reply_to": 5}, "reply_to"),
    ],
)
def test_what_is_no_request_is_malformed_with_its_reason(form: object, reason: str) -> None:
    with pytest.raises(intake.Malformed) as raised:
        read(form)
    failure = raised.value.failure
    assert reason in failure.message
    assert (failure.cause, failure.code, failure.status) == ("malformed", "malformed_event", 400)
    assert raised.value.event.id == "xadd-default-7-1"


@pytest.mark.parametrize(
    "named",
    [
        {"reply_to": "back"},
        {"callback_queue": "back"},
        {"reply_to": None, "callback_queue": "back"},
        {"reply_to": 5, "callback_queue": "back"},
    ],
)
def test_a_malformed_request_tells_the_callback_it_named(named: dict[str, object]) -> None:
    with pytest.raises(intake.Malformed) as raised:
        read({"priority": 99, "prompt": "x", **named})
    assert raised.value.event.reply_to == "back"


def test_an_entry_without_our_field_is_malformed() -> None:
    with pytest.raises(intake.Malformed, match="no field `event`"):
        intake.read([b"evnt", b"{}"], lane="low", entry="7-1")


def test_without_a_default_a_model_is_needed() -> None:
    with pytest.raises(intake.Malformed, match="`model` is missing"):
        intake.read([b"event", b'{"prompt":"x"}'], lane="low", entry="7-1")


def test_a_dead_letter_keeps_the_text_and_no_more_than_its_share() -> None:
    with pytest.raises(intake.Malformed) as raised:
        read(b"\xff" * 100_000)
    event = raised.value.event
    assert event.body_bytes == 100_000
    kept = msgspec.json.decode(event.body, type=str)
    assert kept == "\N{REPLACEMENT CHARACTER}" * intake.KEPT_BYTES
    assert events.decode(events.encode(event)) == event


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda leaf: (
        st.lists(leaf, max_size=3) | st.dictionaries(st.text(max_size=8), leaf, max_size=3)
    ),
    max_leaves=4,
)
known = st.sampled_from(
    [*sorted(intake.OUR_FIELDS), "model", "messages", "input", "stream", "user"]
)
nearly = st.dictionaries(known | st.just("v"), json_like).map(
    lambda form: json.dumps(form).encode()
)
payloads = st.binary() | nearly | st.binary().map(lambda rest: b'{"v":1,' + rest)


@given(payloads, st.none() | st.sampled_from(LANES))
def test_no_bytes_raise_anything_but_malformed(payload: bytes, lane: Lane | None) -> None:
    try:
        event = intake.read([b"event", payload], lane=lane, entry="7-1", default_model="m")
    except intake.Malformed as malformed:
        event = malformed.event
    assert events.decode(events.encode(event)) == event


@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_no_fields_raise_anything_but_malformed(pairs: list[tuple[bytes, bytes]]) -> None:
    flat = [part for pair in pairs for part in pair]
    with pytest.raises(intake.Malformed):
        intake.read(flat, lane="default", entry="7-1")


def test_a_producers_retry_count_leaves_rungs_out() -> None:
    assert read(CHAT | {"retry_count": 2}).rungs_skipped == 2
    assert read(CHAT).rungs_skipped == 0


@pytest.mark.parametrize("retry_count", [-1, 1001, "two"])
def test_a_retry_count_out_of_range_is_told(retry_count: object) -> None:
    with pytest.raises(intake.Malformed, match="retry_count"):
        read(CHAT | {"retry_count": retry_count})


def test_a_mark_beside_an_event_of_ours_says_that_it_was_cancelled() -> None:
    payload = events.encode(make_event())
    assert read(payload, None, cancelled="1").cancelled
    assert not read(payload, None).cancelled
    assert not read(CHAT, cancelled="1").cancelled
