"""A request that may come more than once: what it is known by, and what came of asking.

The rules are in `accept.lua`; only the hash of an idempotency key is ever stored.
"""

import math
from hashlib import sha256
from typing import Final, Literal

import msgspec

from pipeline import clock
from pipeline.errors import (
    Conflict,
    InProgress,
    QueueFull,
    RedisUnavailable,
    SluiceError,
)
from pipeline.event import Event
from pipeline.names import LANES

#: What becomes of a request while another with its key is under way: told to come back later,
#: attached to that one's reply, attached without ever being refused, or accepted in its place.
OnDuplicate = Literal["refuse", "attach", "join", "renew"]

#: Hex digits kept of a hash.
_DIGITS: Final = 32

#: Bounds of the pause after which somebody may ask again for what is under way, in seconds.
_SOONEST_S: Final = 1.0
_LATEST_S: Final = 30.0


class Once(msgspec.Struct, frozen=True, kw_only=True):
    """What a request is known by."""

    #: Hash of tenant, route and key.
    key: str
    #: Hash of the route and the body: the same key may not stand for two requests.
    fingerprint: str
    on_duplicate: OnDuplicate = "refuse"
    #: A request that was not given a key counts so long from its accepting on, and while it is
    #: under way; 0: as long as its reply is kept.
    dedupe_s: int = 0

    @property
    def shared(self) -> "Once":
        """The same for who is content to hear of a request that is under way."""
        if self.on_duplicate != "refuse":
            return self
        return msgspec.structs.replace(self, on_duplicate="attach")


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """Which request answers: the one that was to be accepted, or the holder of its key."""

    id: str
    #: The entry of a request that was accepted, as `lane:entry id`.
    entry: str = ""
    #: Whether the holder of the key has ended, so that its kept reply is given again.
    replayed: bool = False


def digest(*parts: bytes) -> str:
    """Hash parts, each for itself: where one ends makes a difference."""
    whole = sha256()
    for part in parts:
        whole.update(b"%d:" % len(part))
        whole.update(part)
    return whole.hexdigest()[:_DIGITS]


def once_argument(once: Once | None, event: Event) -> str:
    """Give what `accept.lua` has to know of a request's key."""
    if once is None:
        return ""
    since, ttl_s = 0.0, 0
    if once.dedupe_s:
        since = event.created - once.dedupe_s
        # It is under way until its deadline at the most.
        ttl_s = math.ceil(max(once.dedupe_s, event.deadline - event.created))
    return f"{once.key} {once.fingerprint} {once.on_duplicate} {since:.6f} {ttl_s}"


def read_reply(request_id: str, reply: str) -> Accepted | SluiceError:
    """Read what `accept.lua` says of one request."""
    if reply.startswith(LANES):
        return Accepted(id=request_id, entry=reply)
    word, _, rest = reply.partition(" ")
    match word:
        case "completed" | "running":
            return Accepted(id=rest, replayed=word == "completed")
        case "busy":
            return InProgress(
                "The request with this Idempotency-Key is still under way; come back later, or "
                "send X-Sluice-On-Duplicate: attach to be given its answer.",
                retry_after_s=pause_s(float(rest)),
            )
        case "conflict":
            return Conflict(
                "This Idempotency-Key was used for another request (route or body differ); "
                "give each request a key of its own."
            )
    if "OOM" in reply or "maxmemory" in reply:
        text = "Redis is at its memory limit; nothing was accepted. Try again later"
        return QueueFull(text, retry_after_s=5)
    return RedisUnavailable(f"Redis refused the request: {reply}")


def pause_s(created: float) -> float:
    """Tell after which pause to ask again for a request: as long as it has been going on."""
    return min(max(clock.now() - created, _SOONEST_S), _LATEST_S)
