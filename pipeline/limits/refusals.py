"""Refusals of the gate as clients read them: what, whose limit, how much, and when to come back."""

from typing import Final

from pipeline.errors import Failure
from pipeline.event import Event, attempts
from pipeline.limits.tickets import Refusal
from pipeline.names import SCOPES

#: Dimensions in words.
UNITS: Final = {
    "rpm": "requests a minute",
    "tpm": "tokens a minute",
    "rpd": "requests a day (UTC)",
    "tpd": "tokens a day (UTC)",
    "concurrency": "requests at once",
    "window": "requests in {window:g} s",
    "heavy": "tokens a minute",
}


def scope_of(scope: str) -> tuple[str, str]:
    """Tell the kind and the name of a scope of ours: `u:acme:bob` is the user `acme/bob`."""
    kind, _, name = scope.partition(":")
    return SCOPES.get(kind, ""), name.replace(":", "/", 1)


def failure(refusal: Refusal, event: Event) -> Failure:
    """Give the failure with which a refused event ends."""
    return _FAILURES[refusal.why](refusal, event)


def _limited(refusal: Refusal, event: Event) -> Failure:
    kind, name = scope_of(refusal.scope)
    unit = UNITS.get(refusal.dimension, "requests").format(window=refusal.window_s)
    limit = f"{refusal.limit} {unit}" if refusal.limit else "its limit"
    when = f" Try again in {refusal.reset_s:.1f} s." if refusal.reset_s >= 0 else ""
    return Failure(
        message=f"The {kind} `{name}` has reached {limit}, which Sluice allows it.{when}",
        type="tokens" if refusal.dimension in ("tpm", "tpd") else "requests",
        code="rate_limited",
        status=429,
        cause="limited",
        retry_after_s=max(0.0, refusal.reset_s),
        metadata=_facts(refusal, event),
    )


def _no_access(refusal: Refusal, event: Event) -> Failure:
    kind, name = scope_of(refusal.scope)
    return Failure(
        message=f"The {kind} `{name}` has no access here: one of its limits is 0.",
        type="permission_error",
        code="no_access",
        status=403,
        cause="limited",
        metadata=_facts(refusal, event),
    )


def _heavy(refusal: Refusal, event: Event) -> Failure:
    tokens = event.prompt_tokens + event.output_tokens
    whose, metadata = "any deployment", {"source": "provider", "tokens": tokens}
    if refusal.scope:
        kind, name = scope_of(refusal.scope)
        whose, metadata = f"the {kind} `{name}`", {**_facts(refusal, event), "tokens": tokens}
    limit = f" ({refusal.limit} tokens)" if refusal.limit else ""
    return Failure(
        message=f"The request needs some {tokens} tokens, more than the limits of {whose} can "
        f"ever admit{limit}. Shorten it, or lower max_tokens.",
        type="invalid_request_error",
        code="request_too_heavy",
        status=413,
        cause="limited",
        metadata=dict(metadata),
    )


def _full(refusal: Refusal, event: Event) -> Failure:
    return Failure(
        message=f"Too many requests for `{event.model}` wait already (gate.max_queue_size).",
        code="queue_full",
        status=503,
        cause="limited",
        retry_after_s=max(1.0, refusal.reset_s),
        metadata={"source": "sluice"},
    )


def _unreachable(refusal: Refusal, event: Event) -> Failure:
    left_s = max(0.0, event.deadline - event.created)
    return Failure(
        message=f"`{event.model}` has no capacity for this request for some "
        f"{refusal.reset_s:.1f} s, and its timeout is {left_s:g} s.",
        type="requests",
        code="deadline_unreachable",
        status=429,
        cause="limited",
        retry_after_s=max(1.0, refusal.reset_s),
        metadata={"source": "provider", "eta_s": round(refusal.reset_s, 3), **_last(event)},
    )


def _dead(_: Refusal, event: Event) -> Failure:
    return Failure(
        message=f"Every provider of `{event.model}` refuses the keys it was given.",
        code="upstream_credentials_exhausted",
        status=502,
        cause="exhausted",
        metadata={"source": "provider", "attempts": attempts(event), **_last(event)},
    )


def _down(refusal: Refusal, event: Event) -> Failure:
    return Failure(
        message=f"Every deployment of `{event.model}` is cut off: their last calls failed, and so "
        "did the trials since.",
        code="provider_exhausted",
        status=503,
        cause="exhausted",
        retry_after_s=max(1.0, refusal.reset_s),
        metadata={"source": "provider", "attempts": attempts(event), **_last(event)},
    )


def _last(event: Event) -> dict[str, object]:
    """Tell how the last call ended, if there was one."""
    last = event.failure
    if last is None:
        return {}
    return {"last": {"cause": last.cause, "status": last.status, "code": last.code}}


def _facts(refusal: Refusal, _: Event) -> dict[str, object]:
    kind, name = scope_of(refusal.scope)
    facts: dict[str, object] = {
        "source": "sluice", "scope": kind, "name": name, "dimension": refusal.dimension,
        "limit": refusal.limit, "remaining": refusal.remaining, "window_s": refusal.window_s,
    }  # fmt: skip
    if refusal.reset_s >= 0:
        facts["reset_s"] = round(refusal.reset_s, 3)
    return facts


_FAILURES: Final = {
    "limited": _limited,
    "no_access": _no_access,
    "heavy": _heavy,
    "full": _full,
    "unreachable": _unreachable,
    "dead": _dead,
    "down": _down,
}
