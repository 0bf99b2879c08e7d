"""Tells the log how requests end: a subscriber to passages.

What goes well, and what our limits refuse, is told at `debug` alone: there is a line or two of
that for each request, and metrics count it.
"""

import logging
import re
from typing import Final

from pipeline.about import about
from pipeline.errors import Failure
from pipeline.outcome import Climb, Die, Finish
from pipeline.passage import Passage

log = logging.getLogger(__name__)

#: A code is a word; a provider's may be anything, the prompt too.
_CODE: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


def note_end(passage: Passage) -> None:
    """Log a passage that ends a leg; any other at `debug`."""
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
    event, code = passage.before, failure.code if failure else None
    extra = about(
        event,
        passage.line.hop,
        cause=failure.cause if failure else None,
        status=failure.status if failure else None,
        code=code if code and _CODE.fullmatch(code) else None,
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
