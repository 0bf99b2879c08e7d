"""The event's public form: what is written is read again, and what others add is tolerated."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import event as events
from pipeline.errors import Failure
from pipeline.event import Candidate, Closing, Event, Lease, Line, Usage
from pipeline.names import MAX_PRIORITY, MIN_PRIORITY

times = st.floats(min_value=0, max_value=4e9)
words = st.text(max_size=20)
counts = st.integers(min_value=0, max_value=2**40)
plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words
trees = st.recursive(
    plain, lambda leaf: st.lists(leaf) | st.dictionaries(words, leaf), max_leaves=5
)
#: A body is absent or some JSON; an empty one that is not absent does not exist.
raws = st.just(events.NO_BODY) | trees.map(lambda tree: msgspec.Raw(msgspec.json.encode(tree)))

failures = st.builds(
    Failure,
    message=words,
    code=st.none() | words,
    retry_after_s=times,
    status=st.integers(400, 599),
)
usages = st.builds(Usage, prompt_tokens=counts, completion_tokens=counts, total_tokens=counts)
lines = st.builds(
    Line,
    hop=words,
    start=times,
    end=times,
    delivery=st.integers(1, 9),
    facts=st.dictionaries(words, words | counts | times | st.booleans(), max_size=3),
)
requests = st.builds(
    Event,
    id=words,
    operation=st.sampled_from(["chat", "embeddings"]),
    model=words,
    body=raws,
    body_bytes=counts,
    stream=st.booleans(),
    include_usage=st.booleans(),
    priority=st.integers(MIN_PRIORITY, MAX_PRIORITY),
    created=times,
    direct=st.booleans(),
    deadline=times,
    tenant=words,
    user=words,
    session=words,
    reply_to=words,
    metadata=raws,
    traceparent=words,
    leg=st.integers(1, 9),
    plan=st.lists(st.builds(Candidate, deployment=words, rank=counts)).map(tuple),
    tried=st.lists(words).map(tuple),
    lease=st.none() | st.builds(Lease, deployment=words, key=words),
    attempts=counts,
    deltas=counts,
    generation=counts,
    usage=st.none() | usages,
    finish_reason=words,
    failure=st.none() | failures,
    status=st.sampled_from(["queued", "running", "completed", "failed"]),
    journal=st.lists(lines, max_size=3).map(tuple),
)


@given(requests)
def test_what_is_written_is_read_again(event: Event) -> None:
    assert events.decode(events.encode(event)) == event


@given(requests)
def test_the_form_tells_its_version_first(event: Event) -> None:
    assert events.encode(event).startswith(b'{"v":1,')


@given(requests, trees)
def test_fields_that_others_add_are_tolerated(event: Event, value: object) -> None:
    form = msgspec.json.decode(events.encode(event))
    form["not_ours"] = value
    assert events.decode(msgspec.json.encode(form)) == event


def test_another_version_is_refused() -> None:
    form = b'{"v":2,"id":"a","model":"m","body_bytes":0,"created":1}'
    with pytest.raises(msgspec.ValidationError, match=r"\$\.v"):
        events.decode(form)


def test_what_has_its_default_takes_no_room() -> None:
    event = Event(id="a", model="m", body_bytes=0, created=1.5)
    assert events.encode(event) == b'{"v":1,"id":"a","model":"m","body_bytes":0,"created":1.5}'


def test_a_body_travels_as_it_came() -> None:
    body = b'{ "b" : 1.0, "a":[1e2] }'
    event = Event(id="a", model="m", body=msgspec.Raw(body), body_bytes=24, created=1.0)
    assert bytes(events.decode(events.encode(event)).body) == body
    assert event.has_body


def test_an_event_without_a_body_says_so() -> None:
    assert not Event(id="a", model="m", body_bytes=9, created=1.0).has_body


def test_a_line_is_added_behind_the_others_and_the_old_event_stays() -> None:
    first, second = (Line(hop=hop, start=1.0, end=2.0) for hop in ("route", "gate"))
    event = Event(id="a", model="m", body_bytes=0, created=1.0, journal=(first,))
    changed = events.written(event, second, status="running")
    assert changed.journal == (first, second)
    assert changed.status == "running"
    assert event.journal == (first,)


@given(failures, usages)
def test_a_closing_is_read_again(failure: Failure, usage: Usage) -> None:
    closing = Closing(status="failed", generation=3, deltas=2, usage=usage, failure=failure)
    assert msgspec.json.decode(events.encode(closing), type=Closing) == closing
