"""What a call's end means for the limits: what it used, and what the provider showed of itself."""

from typing import Final

from pipeline.catalog import Catalog
from pipeline.errors import Cancelled, Failure, SluiceError, UpstreamError
from pipeline.event import Event, Facts
from pipeline.limits.seen import Limited
from pipeline.limits.tickets import Ending, Health, Settlement, broken
from workers.providers.base import Reply

#: Causes that the client has to mend: such a request counts against its limits.
_CLIENTS_FAULT: Final = frozenset({"bad_request", "model_not_found"})

#: Causes by which a deployment shows that it lives, and that count against it.
_ALIVE: Final = frozenset({"bad_request", "model_not_found", "rate_limited"})
_BROKEN: Final = frozenset({"network", "timeout", "overloaded", "interrupted"})

#: No hint keeps a key at rest for longer than this, in seconds.
LONGEST_REST_S: Final = 86_400.0

#: Rest of a provider that had too many calls at once and gave no hint, in seconds.
CROWDED_REST_S: Final = 1.0


def answered(reply: Reply, facts: Facts) -> Settlement:
    """Settle a call that was answered, by what the journal tells of it."""
    usage = reply.usage
    total_s = float(facts["call_ms"]) / 1000
    first_s = float(facts["first_delta_ms"]) / 1000 if "first_delta_ms" in facts else -1.0
    return Settlement(
        ending="answered",
        prompt_tokens=usage.prompt_tokens if usage else -1,
        completion_tokens=usage.completion_tokens if usage else -1,
        seen=reply.seen,
        # The headers came with the first delta.
        age_s=total_s - first_s if first_s >= 0 else 0.0,
        health="alive",
        first_s=first_s,
        total_s=total_s,
    )


def failed(
    event: Event, error: SluiceError, catalog: Catalog, facts: Facts, *, asks_again: bool
) -> Settlement:
    """Settle a call that failed, or was cancelled, after the event's deltas."""
    deltas = event.deltas
    failure = error.failure()
    ending: Ending = "again" if asks_again else "failed"
    upstream = error if isinstance(error, UpstreamError) else None
    was_cancelled = isinstance(error, Cancelled) and error.sent
    was_called = upstream is not None and upstream.sent
    if (failure.cause in _CLIENTS_FAULT and not asks_again) or was_cancelled:
        ending = "refused"
    return Settlement(
        ending=ending,
        # What a stream used that was cut nobody tells: about a token for each delta. A call that
        # was cancelled has been read by the provider, if no more.
        prompt_tokens=event.prompt_tokens if deltas or was_cancelled else -1,
        completion_tokens=deltas or -1,
        was_sent=bool(deltas) or was_cancelled or was_called,
        rest_s=_rest_s(event, failure, catalog, upstream.limited if upstream else ""),
        rests_all=failure.cause == "overloaded",
        dead=f"{failure.status} {failure.code}" if failure.cause == "credentials" else "",
        limited=upstream.limited if upstream else "",
        seen=upstream.seen if upstream else (),
        health=_health(event, failure, catalog, was_called=was_called),
        # It would have taken longer than that.
        total_s=float(facts["call_ms"]) / 1000 if _was_slow(failure) and not deltas else -1.0,
    )


def _was_slow(failure: Failure) -> bool:
    return failure.cause == "timeout" and failure.metadata.get("timeout") != "connect"


def _health(event: Event, failure: Failure, catalog: Catalog, *, was_called: bool) -> Health:
    """Tell what a failure says of its deployment: who refuses is alive."""
    if failure.cause in _ALIVE:
        return "alive" if was_called else None
    if failure.cause not in _BROKEN or event.lease is None:
        return None
    return broken(catalog.provider(catalog.deployment(event.lease.deployment).provider))


def _rest_s(event: Event, failure: Failure, catalog: Catalog, limited: Limited) -> float:
    """Tell for how long a provider wants to be left alone.

    A 429 rests the key (or the account, where that is what the limits hold for) for the hint or
    `cooldown_s`; an overloaded deployment rests only when it says for how long. Too many calls at
    once are no reason to rest for long: the limit that was found keeps the number down.
    """
    rest_s = failure.retry_after_s
    if limited == "concurrency" and not rest_s:
        rest_s = CROWDED_REST_S
    elif failure.cause == "rate_limited" and not rest_s and event.lease:
        deployment = catalog.deployment(event.lease.deployment)
        rest_s = catalog.provider(deployment.provider).cooldown_s
    elif failure.cause not in ("rate_limited", "overloaded"):
        rest_s = 0.0
    return min(rest_s, LONGEST_REST_S)
