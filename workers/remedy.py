"""What becomes of an event whose call failed: asked again, elsewhere, later, or no more.

In this order: the same deployment at once, while that may help; the next candidate; a rung of the
ladder; the end. What its deployment refuses for what it is goes to the fallbacks for that.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.catalog_plans import Special
from pipeline.errors import RETRYABLE, Cause, Failure
from pipeline.event import Candidate, Event, Facts, attempts
from pipeline.flow import GATE
from pipeline.ladder import climb_or_die, leg_lines
from pipeline.limits.tickets import candidates
from pipeline.outcome import Die, Forward, Outcome
from pipeline.settings.load import RetrySettings
from workers import continuing
from workers.continuing import SoFar

#: A deployment that refused a request so often for its rate is not asked again in this leg.
MAX_LIMITED: Final = 5

#: Causes after which the same deployment may do better in a moment.
_QUICK: Final[frozenset[Cause]] = frozenset({"network", "timeout", "overloaded"})

#: Causes that cut a stream, after which another one may be begun.
_CUT: Final = RETRYABLE | {"interrupted"}

#: Codes of a request that another kind of model may take, and which fallbacks are for that.
_SPECIAL: Final[Mapping[str, Special]] = {
    "context_length_exceeded": "context",
    "content_filter": "policy",
    "content_policy_violation": "policy",
}

#: A call that took longer failed in no way that a moment mends, in ms.
_QUICK_CALL_MS: Final = 10_000


def after(
    event: Event, failure: Failure, facts: Facts, catalog: Catalog, retry: RetrySettings
) -> Outcome:
    """Decide what becomes of an event, whose `facts` tell of the call that failed.

    A quick retry has the fact `quick`: the pause in seconds that is to be made before it.
    """
    if event.deltas and failure.cause != "cancelled":
        if failure.cause in _CUT and catalog.model(event.model).on_cut == "restart":
            failure = msgspec.structs.replace(failure, cause="network")
            event = msgspec.structs.replace(event, deltas=0)
        else:
            # Deltas have gone out: beginning again elsewhere would not be one answer.
            onward = _onward(event, failure, facts, catalog, retry)
            return onward or Die(event, _interrupted(failure), facts)
    if failure.cause not in RETRYABLE:
        moved = _instead(event, failure, facts, catalog)
        earlier = event.failure
        if moved or not (_is_unsaid(failure) and earlier and earlier.cause in RETRYABLE):
            return moved or Die(event, failure, facts)
        # Others can be told what this one cannot, and may do better in a while.
        return _elsewhere(event, earlier, facts, catalog)
    again = msgspec.structs.replace(event, lease=None, failure=failure)
    if _may_come_back(event, failure):
        return Forward(again, GATE, facts)
    pause_s = _quick_pause_s(event, failure, facts, retry)
    if pause_s is not None:
        return Forward(again, GATE, {**facts, "quick": round(pause_s, 3)})
    return _elsewhere(event, failure, facts, catalog)


def unable(event: Event, so_far: SoFar, catalog: Catalog) -> Outcome | None:
    """Decide about an event whose leased deployment cannot go on with its answer.

    None: it can; or the worker died that ran it, nobody can, and it begins anew.
    """
    if continuing.can(event, so_far, catalog):
        return None
    stands = msgspec.structs.replace(
        event,
        # It counts as a call: the next one's number has to be a later one.
        attempts=event.attempts + 1,
        generation=so_far.beginning.generation,
        deltas=so_far.beginning.place,
    )
    if so_far.is_plain:
        again = _moved_on(stands, continuing.able(event.plan, catalog))
        if candidates(again):
            return Forward(again, GATE, {"lease": "cannot go on"})
    if not event.deltas:
        return None
    last = event.failure or Failure(message="Nobody can go on with the answer.")
    return Die(stands, _interrupted(last))


def _onward(
    event: Event, failure: Failure, facts: Facts, catalog: Catalog, retry: RetrySettings
) -> Outcome | None:
    """Find who goes on with an answer that was cut; none: nobody can, or is to.

    Whatever one refuses who goes on, another one may take: the request has been answered so far.
    """
    if catalog.model(event.model).on_cut != "continue":
        return None
    if failure.cause == "interrupted":
        failure = msgspec.structs.replace(failure, cause="network")
    event = msgspec.structs.replace(event, plan=continuing.able(event.plan, catalog))
    again = msgspec.structs.replace(event, lease=None, failure=failure)
    here = _deployment_of(event)
    if any(one.deployment == here for one in candidates(event)):
        if _may_come_back(event, failure):
            return Forward(again, GATE, facts)
        pause_s = _quick_pause_s(event, failure, facts, retry)
        if pause_s is not None:
            return Forward(again, GATE, {**facts, "quick": round(pause_s, 3)})
    again = msgspec.structs.replace(_moved_on(event, event.plan), failure=failure)
    # Nobody waits on a rung with half an answer in hand.
    return Forward(again, GATE, facts) if candidates(again) else None


def _elsewhere(event: Event, failure: Failure, facts: Facts, catalog: Catalog) -> Outcome:
    again = msgspec.structs.replace(_moved_on(event, event.plan), failure=failure)
    if candidates(again):
        return Forward(again, GATE, facts)
    end = Die(again, _exhausted(again, failure, facts), facts)
    return climb_or_die(again, failure, end, catalog.ladder(event.model))


def has_stand_in(event: Event, kind: Special, catalog: Catalog) -> bool:
    """Tell whether anyone is left to take what a leased deployment refuses for what it is."""
    plan = catalog.special_fit(event, kind).plan
    return bool(plan) and bool(candidates(_moved_on(event, plan)))


def _instead(event: Event, failure: Failure, facts: Facts, catalog: Catalog) -> Forward | None:
    """Find who may take a request that its deployment refuses for what it is; none: nobody."""
    kind = _SPECIAL.get(failure.code or "")
    if failure.cause == "model_not_found" or _is_unsaid(failure):
        plan = event.plan
    elif failure.cause == "bad_request" and kind:
        plan = catalog.special_fit(event, kind).plan
        facts = {**facts, "instead": kind}
    else:
        return None
    again = msgspec.structs.replace(_moved_on(event, plan), failure=failure)
    return Forward(again, GATE, facts) if candidates(again) else None


def _is_unsaid(failure: Failure) -> bool:
    """Tell whether the deployment was not even called, as its form cannot say the request."""
    return bool(failure.metadata.get("inexpressible"))


def _moved_on(event: Event, plan: tuple[Candidate, ...]) -> Event:
    tried = (*event.tried, _deployment_of(event))
    return msgspec.structs.replace(event, lease=None, plan=plan, tried=tried)


def _deployment_of(event: Event) -> str:
    assert event.lease is not None
    return event.lease.deployment


def _may_come_back(event: Event, failure: Failure) -> bool:
    """Tell whether the gate may send it here again: it knows which key is left, and when."""
    if failure.cause == "credentials":
        return True
    return failure.cause == "rate_limited" and _limited_here(event) + 1 < MAX_LIMITED


def _quick_pause_s(
    event: Event, failure: Failure, facts: Facts, retry: RetrySettings
) -> float | None:
    """Tell how long to wait before the same deployment is asked again; none: it is not."""
    retried, most = sum("quick" in facts for facts in _calls_here(event)), retry.quick
    elsewhere = candidates(event)[1:]
    if elsewhere or failure.code == "empty_completion":
        most = min(1, most)
    # A stream that ran for long and was cut was well until then.
    slow = float(facts["call_ms"]) > _QUICK_CALL_MS and not (event.deltas and "cut_after" in facts)
    if failure.cause not in _QUICK or retried >= most or slow:
        return None
    if failure.cause == "overloaded" and elsewhere:
        return None
    mean_s = min(retry.max_backoff_s, retry.backoff_s * 2**retried)
    if failure.retry_after_s > mean_s:
        return None
    pause_s = mean_s * clock.chance.uniform(0.5, 1.5)
    in_time = not event.deadline or clock.now() + pause_s < event.deadline
    return pause_s if in_time else None


def _limited_here(event: Event) -> int:
    return sum(facts.get("cause") == "rate_limited" for facts in _calls_here(event))


def _calls_here(event: Event) -> list[Facts]:
    """List what is told of the calls of this leg at the same deployment."""
    here = _deployment_of(event)
    return [line.facts for line in leg_lines(event) if line.facts.get("deployment") == here]


def _interrupted(failure: Failure) -> Failure:
    return msgspec.structs.replace(
        failure,
        message=f"The stream was cut: {failure.message}",
        code="stream_interrupted",
        cause="interrupted",
        status=502,
    )


def _exhausted(event: Event, last: Failure, facts: Facts) -> Failure:
    """Tell that every candidate has failed, and how the last one did."""
    if last.cause == "credentials":
        status, code = 502, "upstream_credentials_exhausted"
    else:
        status, code = 503, "provider_exhausted"
    rungs = {"climbed": list(event.climbed)} if event.climbed else {}
    return Failure(
        message=f"Every candidate for `{event.model}` failed; the last one: {last.message}",
        type="server_error",
        code=code,
        status=status,
        cause="exhausted",
        retry_after_s=last.retry_after_s,
        metadata={
            "attempts": attempts(event, facts),
            "tried": list(event.tried),
            **rungs,
            "last": {"cause": last.cause, "status": last.status, "code": last.code},
        },
    )
