"""The ladder's rule: which rung is next, and who climbs at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import clock
from pipeline.errors import CLIMBING, Cause, Failure
from pipeline.event import Event, Line, written
from pipeline.ladder import Ladder, climb_or_die, leg_lines
from pipeline.outcome import Climb, Die
from tests.streams.rig import make_event

RUNGS = (60, 600, 3600, 86_400)
LADDER = Ladder(rungs=RUNGS)


def failed(
    event: Event, cause: Cause = "overloaded", hint_s: float = 0, code: str = "c"
) -> Climb | Die:
    last = Failure(message="no", cause=cause, retry_after_s=hint_s, code=code)
    return climb_or_die(event, last, Die(event, Failure(message="ended")), LADDER)


def patient(**changes: object) -> Event:
    return make_event("r1", patient=True, **changes)


def test_one_that_always_fails_climbs_each_rung_once_and_then_ends() -> None:
    event, rungs = patient(tried=("a/b",)), []
    while isinstance(outcome := failed(event), Climb):
        event = outcome.event
        rungs.append(outcome.rung)
    assert tuple(rungs) == RUNGS == event.climbed
    assert (event.leg, event.tried, event.lease) == (5, (), None)
    assert outcome.failure.message == "ended"


@given(
    hints=st.lists(st.floats(0, 200_000), max_size=8),
    rungs=st.sets(st.integers(1, 100_000)).map(lambda rungs: tuple(sorted(rungs))),
)
def test_a_rung_is_used_once_and_never_shorter_than_the_hint(
    hints: list[float], rungs: tuple[int, ...]
) -> None:
    event, ladder = patient(), Ladder(rungs=rungs)
    for hint_s in hints:
        last = Failure(message="no", cause="overloaded", retry_after_s=hint_s)
        outcome = climb_or_die(event, last, Die(event, last), ladder)
        left = [rung for rung in rungs if rung not in event.climbed and rung >= hint_s]
        assert isinstance(outcome, Climb) == bool(left)
        if isinstance(outcome, Die):
            return
        assert outcome.rung == left[0]
        event = outcome.event
    assert len(set(event.climbed)) == len(event.climbed)


def test_a_model_may_take_a_rung_a_little_shorter_than_the_hint() -> None:
    tolerant = Ladder(rungs=RUNGS, tolerance_s=5)
    assert tolerant.next_rung(patient(), 65) == 60
    assert tolerant.next_rung(patient(), 65.1) == 600


@pytest.mark.parametrize(("skipped", "rung"), [(0, 60), (2, 3600), (4, None), (1000, None)])
def test_a_producers_retry_count_leaves_out_the_first_rungs(skipped: int, rung: int | None) -> None:
    assert LADDER.next_rung(patient(rungs_skipped=skipped), 0) == rung


@pytest.mark.parametrize(("left_s", "climbs"), [(59, False), (61, True)])
def test_a_rung_that_ends_after_the_deadline_is_of_no_use(left_s: float, *, climbs: bool) -> None:
    event = patient(deadline=clock.now() + left_s)
    assert isinstance(failed(event), Climb) == climbs


def test_a_hint_within_the_deadline_is_not_passed_over_for_a_shorter_rung() -> None:
    assert isinstance(failed(patient(deadline=clock.now() + 300), hint_s=100), Die)


@pytest.mark.parametrize("changes", [{"patient": True}, {"direct": True}, {}])
def test_who_holds_a_connection_open_does_not_climb(changes: dict[str, bool]) -> None:
    assert isinstance(failed(make_event("r1", **changes)), Climb) == bool(changes)


@pytest.mark.parametrize("cause", ["credentials", "bad_request", "bug", *sorted(CLIMBING)])
def test_the_cause_decides(cause: Cause) -> None:
    assert isinstance(failed(patient(), cause), Climb) == (cause in CLIMBING)


def test_a_full_waiting_room_is_a_reason_to_come_back_later() -> None:
    assert isinstance(failed(patient(), "limited", code="queue_full"), Climb)
    assert isinstance(failed(patient(), "limited", code="rate_limited"), Die)


def test_what_any_candidate_of_this_leg_failed_of_counts() -> None:
    busy = Line(hop="call", start=0, end=0, facts={"cause": "overloaded"})
    event = written(patient(), busy)
    assert isinstance(failed(event, "credentials"), Climb)
    climbed = written(event, Line(hop="call", start=0, end=0, facts={"rung": 60}))
    assert leg_lines(climbed) == []
    assert isinstance(failed(climbed, "credentials"), Die)
