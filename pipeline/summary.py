"""Sums up a request's way from its journal, for the headers of its answer."""

from pipeline.event import Event, Facts, Line, Summary
from pipeline.flow import CALL, GATE
from pipeline.polite import FACT


def summary_of(event: Event, *latest: Facts) -> Summary | None:
    """Sum up an event by its journal, and by a call of which only the facts are there yet.

    None: no provider was called, and nothing was waited for.
    """
    queue_ms = provider_ms = cost = 0.0
    fallbacks, priced, is_polite = 0, False, False
    called: Facts = {}
    before: Line | None = None
    for line in event.journal:
        if before is not None and _waits(before, line):
            queue_ms += (line.start - before.end) * 1000
        before = line
        is_polite = is_polite or FACT in line.facts
        if line.hop == CALL and "deployment" in line.facts:
            called = line.facts
            provider_ms += float(called.get("call_ms", 0.0))
            queue_ms += float(called.get("quick", 0.0)) * 1000
            fallbacks += "fallback" in called
            priced = priced or "cost" in called
    for called in latest:
        provider_ms += float(called.get("call_ms", called.get("first_delta_ms", 0.0)))
        fallbacks += "fallback" in called
    if not called and not queue_ms and not is_polite:
        return None
    cost = event.cost
    return Summary(
        deployment=str(called.get("deployment", "")),
        model=str(called.get("model", "")),
        attempts=event.attempts,
        fallbacks=fallbacks,
        queue_ms=round(queue_ms, 1),
        provider_ms=round(provider_ms, 1),
        cost=cost if priced else None,
        polite=is_polite,
    )


def _waits(before: Line, line: Line) -> bool:
    """Tell whether the time between two hops was a wait, and no work of ours."""
    return "rung" in before.facts or (line.hop == GATE and "waits_for" in before.facts)
