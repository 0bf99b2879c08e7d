"""`Prefer: respond-async, wait=N` (RFC 7240): a 202 for who asked, when an answer takes longer.

Preferences are wishes: what is malformed or not known here is passed over, as the RFC says.
"""

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import msgspec

from gateway.exchange import JSON_TYPE, Exchange
from gateway.gateway import Gateway
from gateway.idempotency import Asking
from pipeline import clock
from pipeline.event import Event
from pipeline.streams.once import pause_s

T = TypeVar("T")

#: More digits would be years.
_MAX_DIGITS: Final = 8


class Later(msgspec.Struct, frozen=True):
    """A client that would rather be told where its answer will be than wait long for it."""

    #: Seconds that it waits for the answer itself; none: it did not say.
    wait_s: int | None = None

    def at_most(self, wait_s: float) -> "Later":
        """Wait no longer than this."""
        return self if self.wait_s is None else Later(min(self.wait_s, max(0, int(wait_s))))


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the 202."""

    id: str
    object: str = "sluice.request"
    status: str
    model: str
    created_at: str
    url: str


def later_of(exchange: Exchange) -> Later | None:
    """Read the preference; nothing: the client wants its answer and nothing else."""
    if b"prefer" not in exchange.headers:
        return None
    fields = [value for name, value in exchange.scope["headers"] if name == b"prefer"]
    told: dict[str, str] = {}
    for preference in b",".join(fields).decode("latin-1").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        # The first of several counts.
        told.setdefault(name.strip().lower(), value.strip().strip('"'))
    if "respond-async" not in told:
        return None
    wait = told.get("wait", "")
    return Later(int(wait) if wait.isdecimal() and len(wait) <= _MAX_DIGITS else None)


def patient(event: Event, timeout_s: float | None) -> Event:
    """Give the event of a request that nobody waits for longer than its client said."""
    deadline = event.created + timeout_s if timeout_s else 0.0
    # Its trace goes on after the exchange, and so does its root.
    trace = event.trace and msgspec.structs.replace(event.trace, served=False)
    return msgspec.structs.replace(event, patient=True, deadline=deadline, trace=trace)


async def within(later: Later | None, what: Coroutine[Any, Any, T]) -> T | None:
    """Await something for as long as the client does; nothing: it takes longer.

    What is there already is given to who does not wait at all.
    """
    try:
        async with asyncio.timeout(later.wait_s or 0 if later else None):
            return await what
    except TimeoutError:
        return None


async def answer_later(gateway: Gateway, asking: Asking, later: Later) -> None:
    """Answer 202: the request goes on, and can be asked for by its id."""
    exchange, event = asking.exchange, asking.event
    request_id = exchange.request_id
    record = gateway.names.record(request_id)
    status, created, model = await gateway.ask("HMGET", record, "status", "created", "model")
    began = float(created or event.created)
    taken = Taken(
        id=request_id,
        status=(status or b"queued").decode(),
        model=(model or event.model.encode()).decode(),
        created_at=clock.rfc3339(began),
        url=f"/v1/requests/{request_id}",
    )
    applied = "respond-async" if later.wait_s is None else f"respond-async, wait={later.wait_s}"
    headers = [
        JSON_TYPE,
        (b"location", taken.url.encode()),
        (b"retry-after", b"%d" % math.ceil(pause_s(began))),
        (b"preference-applied", applied.encode()),
        *await exchange.promised(),
    ]
    await exchange.answer(202, msgspec.json.encode(taken), headers)
