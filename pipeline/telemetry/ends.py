"""Tells the log how requests end: a subscriber to passages.

What goes well, and what our limits refuse, is told at `debug` alone: there is a line or two of
that for each request, and metrics count it.
"""

import logging
from typing import Final

from pipeline.about import about
from pipeline.errors import Failure
from pipeline.outcome import Climb, Die, Finish
from pipeline.passage import Passage
from pipeline.telemetry.codes import code_of

log = logging.getLogger(__name__)

#: Outcomes that may be told of above `debug`; the others, nearly all, cost a look at the level.
_TELLING: Final = (Climb, Die)


def note_end(passage: Passage) -> None:
    """Log a passage that ends a leg; any other at `debug`."""
    if not isinstance(passage.outcome, _TELLING) and not log.isEnabledFor(logging.DEBUG):
        return
    match passage.outcome:
        case Climb(failure=failure, rung=rung):
            _note(logging.INFO, "Request climbed", passage, failure, rung)
        case Die(failure=failure):
            level, words = _death(failure)
            _note(level, words, passage, failure)
        case Finish():
            _note(logging.DEBUG, "Request completed", passage)
        case _:
            _note(logging.DEBUG, "Hop passed", passage)


def _death(failure: Failure) -> tuple[int, str]:
    match failure.cause:
        case "cancelled":
            return logging.INFO, "Request cancelled"
        case "limited":
            return logging.DEBUG, "Request refused"
    return logging.WARNING, "Request dead-lettered"


def _note(
    level: int,
    words: str,
    passage: Passage,
    failure: Failure | None = None,
    rung: int | None = None,
) -> None:
    if not log.isEnabledFor(level):
        return
    event = passage.before
    extra = about(
        event,
        passage.line.hop,
        cause=failure.cause if failure else None,
        status=failure.status if failure else None,
        code=code_of(failure) if failure else None,
        deployment=_deployment(passage),
        rung=rung,
        leg=event.leg,
        attempts=passage.event.attempts,
    )
    log.log(level, words, extra=extra)


def _deployment(passage: Passage) -> str | None:
    told = passage.line.facts.get("deployment")
    lease = passage.before.lease
    return str(told) if told else lease.deployment if lease else None
