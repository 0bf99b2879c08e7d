"""W3C trace context: what is taken from callers, who is traced, and that ids are derived."""

import msgspec
import pytest

from pipeline import tracing
from pipeline.event import Event
from pipeline.tracing import NEVER, NOBODY, Caller, Sampler, caller_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


def event(**changes: object) -> Event:
    plain = Event(id="r", model="m", body_bytes=0, created=1.0, undecided=True)
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(
    "given",
    [
        "", "nonsense", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE.upper()}-{SPAN}-01", f"{SAMPLED}-more", SAMPLED[:-1],
    ],
)  # fmt: skip
def test_what_is_no_trace_context_counts_as_none(given: str) -> None:
    assert caller_of(given, "a=1") == NOBODY


def test_a_later_version_may_say_more() -> None:
    assert caller_of(f"01-{TRACE}-{SPAN}-01-more") == Caller(SAMPLED)


def test_a_tracestate_is_passed_on_as_it_came_unless_no_header_could_hold_it() -> None:
    assert caller_of(SAMPLED, "a=1,b=2").tracestate == "a=1,b=2"
    assert caller_of(SAMPLED, "a=1\nb").tracestate == ""
    assert caller_of(SAMPLED, "a" * 513).tracestate == ""


def test_a_callers_decision_stands_unless_that_is_not_wished() -> None:
    assert Sampler(share=0).takes(SAMPLED)
    assert not Sampler(share=1).takes(UNSAMPLED)
    assert Sampler(share=1, parent_based=False).takes(UNSAMPLED)
    assert not NEVER.takes(SAMPLED)


def test_a_share_of_the_others_is_taken() -> None:
    sampler = Sampler(share=0.5)
    assert 350 < sum(sampler.takes("") for _ in range(1000)) < 650
    assert not Sampler(share=0).takes("")
    assert Sampler(share=1).takes("")


def test_a_request_goes_on_with_its_callers_trace() -> None:
    decided = tracing.decided(event(traceparent=SAMPLED, tracestate="a=1"), Sampler(share=0))
    assert decided.trace is not None
    assert (decided.trace.id, decided.trace.parent, decided.trace.state) == (TRACE, SPAN, "a=1")
    assert (decided.traceparent, decided.undecided) == ("", False)
    told = tracing.context_of(decided)
    assert told == {"traceparent": decided.trace.root, "tracestate": "a=1"}
    assert tracing.span_id_of(decided.trace.root) != SPAN


def test_who_is_not_traced_passes_on_what_came() -> None:
    decided = tracing.decided(event(traceparent=UNSAMPLED), Sampler(share=1))
    assert decided.trace is None
    assert tracing.context_of(decided) == {"traceparent": UNSAMPLED}
    assert tracing.context_of(event()) == {}


def test_ids_follow_from_the_request_and_its_leg_alone() -> None:
    once, again = (tracing.decided(event(), Sampler(share=1)).trace for _ in range(2))
    other = tracing.decided(event(created=2.0), Sampler(share=1)).trace
    assert once is not None
    assert other is not None
    assert once == again
    assert once.id != other.id


def test_each_leg_begins_a_trace_that_knows_the_one_before() -> None:
    first = tracing.decided(event(traceparent=SAMPLED, tracestate="a=1"), Sampler(share=1))
    second = tracing.on_next_leg(msgspec.structs.replace(first, leg=2))
    assert first.trace is not None
    assert second.trace is not None
    assert second.linked == first.trace.root
    assert second.trace.id != first.trace.id
    assert (second.trace.parent, second.trace.state) == ("", "a=1")
    assert tracing.on_next_leg(event()) == event()


def test_a_replay_is_traced_where_the_request_was() -> None:
    assert tracing.decided(event(linked=SAMPLED), Sampler(share=0)).trace is not None
    assert tracing.decided(event(linked=""), Sampler(share=0)).trace is None
