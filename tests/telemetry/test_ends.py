"""What the log is told of how requests end, and at which level."""

import logging

import msgspec
import pytest

from pipeline.about import FIELDS
from pipeline.errors import Cause, Failure
from pipeline.event import Event, Lease, Line, written
from pipeline.outcome import Climb, Die, Finish, Forward, Outcome, Wait
from pipeline.passage import Passage
from pipeline.telemetry import ends
from tests.streams.rig import make_event

PROMPT = "Tell me of my illness"


def failure(cause: Cause, code: str | None = "told_code") -> Failure:
    return Failure(message=f"You said: {PROMPT}", code=code, status=503, cause=cause)


def passed(outcome: Outcome) -> Passage:
    """Give the passage of a request at the hop `call`."""
    before = msgspec.structs.replace(outcome.event, lease=Lease(deployment="p/held"))
    line = Line(hop="call", start=1.0, end=2.0, facts={"error": PROMPT, **outcome.facts})
    return Passage(before, written(outcome.event, line), outcome)


def event() -> Event:
    return make_event("r1", tenant="acme")


def noted(caplog: pytest.LogCaptureFixture, outcome: Outcome) -> logging.LogRecord:
    with caplog.at_level(logging.DEBUG, "pipeline.telemetry.ends"):
        ends.note_end(passed(outcome))
    [record] = caplog.records
    return record


@pytest.mark.parametrize(
    ("outcome", "level", "words"),
    [
        (Climb(event(), failure("overloaded"), 60), "INFO", "Request climbed"),
        (Die(event(), failure("exhausted")), "WARNING", "Request dead-lettered"),
        (Die(event(), failure("bug")), "WARNING", "Request dead-lettered"),
        (Die(event(), failure("limited")), "DEBUG", "Request refused"),
        (Die(event(), failure("cancelled")), "INFO", "Request cancelled"),
        (Finish(event()), "DEBUG", "Request completed"),
        (Forward(event(), "respond"), "DEBUG", "Hop passed"),
        (Wait(event()), "DEBUG", "Hop passed"),
    ],
)
def test_each_end_has_its_words_and_its_level(
    caplog: pytest.LogCaptureFixture, outcome: Outcome, level: str, words: str
) -> None:
    record = noted(caplog, outcome)
    assert (record.levelname, record.getMessage()) == (level, words)
    told = getattr(record, FIELDS)
    assert (told["request"], told["tenant"], told["hop"]) == ("r1", "acme", "call")
    assert PROMPT not in str(told)


def test_a_climb_tells_its_rung_and_why(caplog: pytest.LogCaptureFixture) -> None:
    facts = {"deployment": "p/asked"}
    record = noted(caplog, Climb(event(), failure("overloaded"), 60, {**facts}))
    told = getattr(record, FIELDS)
    assert (told["rung"], told["cause"], told["status"]) == (60, "overloaded", 503)
    assert (told["code"], told["deployment"], told["leg"]) == ("told_code", "p/asked", 1)


@pytest.mark.parametrize("cause", ["bad_request", "model_not_found", "rate_limited"])
def test_a_provider_s_own_code_is_told_only_where_it_is_known(
    caplog: pytest.LogCaptureFixture, cause: Cause
) -> None:
    codes = (PROMPT, "prompt", None, "context_length_exceeded")
    with caplog.at_level(logging.DEBUG, "pipeline.telemetry.ends"):
        for code in codes:
            ends.note_end(passed(Die(event(), failure(cause, code))))
    told = [getattr(record, FIELDS)["code"] for record in caplog.records]
    assert told == [None, None, None, "context_length_exceeded"]


def test_nothing_is_made_of_what_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pipeline.telemetry.ends"):
        for outcome in (Finish(event()), Forward(event(), "call"), Wait(event())):
            ends.note_end(passed(outcome))
    assert caplog.records == []
