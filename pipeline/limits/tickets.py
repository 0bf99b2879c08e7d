"""What is asked of admission and what it answers, in the scripts' forms (`door.lua`)."""

from typing import Literal

import msgspec

from pipeline.catalog_deployments import Deployment
from pipeline.event import Candidate, Event, Lease
from pipeline.limits.caps import CLASSES, deployment_cap, own_limits
from pipeline.limits.plans import Room, upstream_of
from pipeline.limits.seen import Limited, Seen
from pipeline.settings.load import ProviderSettings

#: How a call ended: answered; failed, and another candidate is to be asked; failed for good;
#: refused by the client's own fault, which counts against the client.
Ending = Literal["answered", "again", "failed", "refused"]

#: Why admission says no: our limit on the client; a limit of 0; larger than any limit; the room is
#: full; the deadline comes first; the provider refuses all keys; all deployments are cut off, and
#: were not mended when they were tried.
Why = Literal["limited", "no_access", "heavy", "full", "unreachable", "dead", "down"]


Packed = list[object]


class Granted(Lease, frozen=True, kw_only=True):
    """A lease that was chosen among several candidates, and how."""

    #: The strategy; `sticky`; `look` at a slower one; `paid` with another request; empty: the
    #: others were passed over.
    chosen_by: str = ""
    #: The scores that were compared, and who was passed over and why; both may be cut short.
    scores: str = ""
    passed_over: str = ""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """The event has a place in a waiting room, or waits for one of our limits."""

    #: The scope of our limit that it waits for; empty: for a provider's capacity.
    scope: str = ""
    #: Its place as well as it is known; 1 is next.
    place: int = 0
    #: Seconds until its turn; negative: nobody knows.
    eta_s: float = -1.0


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The event is not to wait."""

    why: Why
    scope: str = ""
    dimension: str = ""
    limit: int = 0
    remaining: int = 0
    #: Seconds until it would be admitted; negative: nobody knows.
    reset_s: float = -1.0
    window_s: float = 0.0


Verdict = Lease | Waiting | Refusal


class Broken(msgspec.Struct, frozen=True, array_like=True):
    """A failure that counts against its deployment: so many in a row cut it off, for how long."""

    failures: int
    open_ms: int
    max_open_ms: int


def broken(provider: ProviderSettings) -> Broken:
    """Give what a failure means at a provider."""
    breaker = provider.breaker
    return Broken(
        failures=breaker.failures,
        open_ms=round(breaker.open_s * 1000),
        max_open_ms=round(breaker.max_open_s * 1000),
    )


class Look(msgspec.Struct, frozen=True):
    """What a look at a provider has shown of one of its deployments."""

    deployment: Deployment
    provider: ProviderSettings
    is_alive: bool

    def packed(self) -> Packed:
        """Write it as the scripts read it."""
        one, every_ms = self.deployment, round(self.provider.health_s * 1000)
        upstream = upstream_of(one)
        counts = msgspec.structs.astuple(broken(self.provider))
        return [deployment_cap(one.id), upstream, int(self.is_alive), *counts, every_ms]


#: What a call's end says of its deployment; none: nothing.
Health = Literal["alive"] | Broken | None


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call: what it used, and what the provider showed of itself."""

    ending: Ending
    #: Tokens as the provider counted them; -1: it did not say.
    prompt_tokens: int = -1
    completion_tokens: int = -1
    #: Whether the provider can have counted the request at all.
    was_sent: bool = True
    #: Seconds for which the provider wants to be left alone by this key, or by all.
    rest_s: float = 0.0
    rests_all: bool = False
    #: Why the provider refuses the key for good; empty: it does not.
    dead: str = ""
    #: Which of its limits the provider refused by.
    limited: Limited = ""
    seen: tuple[Seen, ...] = ()
    #: How long ago it said so.
    age_s: float = 0.0
    #: Whether the deployment has shown that it lives, or when such failures cut it off.
    health: Health = None
    #: How long the first token took, and the whole answer; negative: not known.
    first_s: float = -1.0
    total_s: float = -1.0


def ticket_of(event: Event) -> str:
    """Name the ticket of an event: one for each leg."""
    return f"{event.leg}.{event.id}"


def id_of(ticket: str) -> str:
    """Name the request of a ticket."""
    return ticket.partition(".")[2]


def candidates(event: Event) -> tuple[Candidate, ...]:
    """List the candidates that have not failed in this leg."""
    if not event.tried:
        return event.plan
    return tuple(c for c in event.plan if c.deployment not in event.tried)


def question(event: Event, room: Room, *, weight: int, is_known: bool, refuses: bool) -> Packed:
    """Write a question; `is_known` tells whether the tenant is configured."""
    return [
        ticket_of(event),
        room.name,
        CLASSES[event.lane],
        event.tenant,
        weight,
        [part for limit in own_limits(event) for part in limit] if is_known else [],
        event.prompt_tokens,
        # Nothing answers embeddings in tokens; 0 would stand for as many as usual.
        -1 if event.operation == "embeddings" else event.output_tokens,
        int(event.deadline * 1000),
        int(refuses),
        event.calls,
        event.sticky,
        event.follows,
    ]


def settlement(ticket: str, generation: int, end: Settlement) -> Packed:
    """Write a settlement."""
    return [
        ticket,
        generation,
        end.ending,
        end.prompt_tokens,
        end.completion_tokens,
        int(end.was_sent),
        int(end.rest_s * 1000),
        int(end.rests_all),
        end.dead,
        end.limited,
        end.seen,
        int(end.age_s * 1000),
        end.health if isinstance(end.health, Broken) else [int(end.health == "alive")],
        _milliseconds(end.first_s),
        _milliseconds(end.total_s),
    ]


def verdict(packed: bytes) -> Verdict | None:
    """Read an answer; nothing: the room's plan is not known."""
    answer = msgspec.msgpack.decode(packed)
    match answer:
        case ["lease", deployment, key, False]:
            return Lease(deployment=deployment, key=key)
        case ["lease", deployment, key, [by, scores, passed]]:
            return Granted(
                deployment=deployment, key=key, chosen_by=by, scores=scores, passed_over=passed
            )
        case ["wait", scope, place, ms]:
            return Waiting(scope=scope, place=int(place), eta_s=_seconds(ms))
        case ["refuse", why, scope, dimension, limit, remaining, ms, window_ms]:
            return Refusal(
                why=why,
                scope=scope,
                dimension=dimension,
                limit=int(limit),
                remaining=int(remaining),
                reset_s=_seconds(ms),
                window_s=window_ms / 1000,
            )
    return None


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1) if seconds >= 0 else -1


def _seconds(ms: float) -> float:
    return ms / 1000 if ms >= 0 else -1.0
