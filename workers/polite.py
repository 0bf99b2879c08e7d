"""Where a request would die that its model answers politely, it is answered so instead.

All ways out see a completed request; its journal tells the failure, and a counter how many there
were. No dead letter is left: somebody has been answered.
"""

import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final

import msgspec

from pipeline import event as events
from pipeline import polite
from pipeline.catalog import Catalog
from pipeline.errors import Cancelled, Failure
from pipeline.event import Event, Facts, Summary, Usage
from pipeline.flow import RESPOND
from pipeline.outcome import Die, Forward, Outcome
from pipeline.streams.link import Link, LinkError
from pipeline.streams.replies import Replies, ReplyWriter
from pipeline.summary import summary_of

#: The counter's name beside the other ones.
COUNTER: Final = "polite"

Run = Callable[[Event], Awaitable[Outcome]]


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What a polite answer needs of its process."""

    catalog: Catalog
    replies: Replies
    link: Link
    #: Where counters are.
    counters: str


def politely(hop: Run, means: Means) -> Callable[[Event], Coroutine[None, None, Outcome]]:
    """Let a hop's failures be answered politely where their model wants that."""

    async def run(event: Event) -> Outcome:
        return await answered(await hop(event), means)

    return run


async def answered(outcome: Outcome, means: Means) -> Outcome:
    """Give a death's polite answer in its place; whatever else it is stays as it is.

    Done twice it begins a new generation of the reply, as a call does.
    """
    if not isinstance(outcome, Die):
        return outcome
    event, failure = outcome.event, outcome.failure
    text = means.catalog.model(event.model).polite
    if not text or not polite.may_stand_for(failure, event, outcome.facts):
        return outcome
    facts = {**outcome.facts, **_told(outcome)}
    event = msgspec.structs.replace(
        event,
        lease=None,
        generation=event.next_generation,
        usage=Usage(),
        finish_reason="stop",
        failure=None,
    )
    if event.stream:
        writer = means.replies.open(event.id, event.generation)
        writer.head = events.encode(_head(event, outcome.facts))
        writer.write(polite.chunks(event, text, failure))
        await writer.flushed()
        if writer.refused:
            return _refused(outcome, writer)
        event = msgspec.structs.replace(event, deltas=writer.place)
    with contextlib.suppress(LinkError):
        await means.link.call("HINCRBY", means.counters, COUNTER, 1)
    return Forward(event, RESPOND, facts, polite.whole(event, text, failure))


def _told(outcome: Die) -> Facts:
    """Tell of a failure in the journal; that of a call itself stays as it is."""
    failure = outcome.failure
    named = {polite.FACT: failure.code or failure.cause}
    if "cause" in outcome.facts:
        return {**named, "failure": failure.message[:200]}
    return {
        **named, "cause": failure.cause, "status": failure.status, "error": failure.message[:200],
    }  # fmt: skip


def _head(event: Event, facts: Facts) -> Summary:
    """Sum up the way so far; a call's own facts are not in the journal yet."""
    latest = (facts,) if "call_ms" in facts else ()
    return msgspec.structs.replace(summary_of(event, *latest) or Summary(), polite=True)


def _refused(outcome: Die, writer: ReplyWriter) -> Die:
    """End as before: others have ended it meanwhile, or its client wants no answer any more."""
    if not writer.cancelled:
        return outcome
    cancelled: Failure = Cancelled("The request was cancelled.").failure()
    return Die(outcome.event, cancelled, outcome.facts)
