"""Rungs under test: hops that always fail, a clock to turn, and ways onto a rung."""

from pathlib import Path
from typing import Final

import msgspec

from pipeline import event as events
from pipeline.catalog import Catalog
from pipeline.errors import Failure
from pipeline.event import Event, Facts, Lease
from pipeline.flow import CALL, GATE, RESPOND, ROUTE
from pipeline.outcome import Climb, Finish, Forward, Outcome
from pipeline.settings.load import RetrySettings
from pipeline.streams.engine import Hop
from tests.limits.rooms import configured
from tests.streams.rig import NAMES, Client, Desk, make_event
from workers import remedy

RUNGS: Final = (60, 600, 3600, 86_400)
OVERLOADED: Final = Failure(message="too busy", code="overloaded", status=503, cause="overloaded")


def failing_hops(directory: Path) -> dict[str, Hop]:
    """Make the hops of a house whose only deployment is always too busy."""
    catalog = Catalog(configured(directory, ladder=RUNGS))

    async def route(event: Event) -> Outcome:
        return Forward(msgspec.structs.replace(event, plan=catalog.candidates("m")), GATE)

    async def gate(event: Event) -> Outcome:
        return Forward(msgspec.structs.replace(event, lease=Lease(deployment="p/a")), CALL)

    async def call(event: Event) -> Outcome:
        event = msgspec.structs.replace(event, attempts=event.attempts + 1)
        facts: Facts = {"deployment": "p/a", "cause": "overloaded", "call_ms": 1.0}
        return remedy.after(event, OVERLOADED, facts, catalog, RetrySettings(quick=0))

    async def respond(event: Event) -> Outcome:
        return Finish(event)

    return {ROUTE: route, GATE: gate, CALL: call, RESPOND: respond}


class Hours:
    """The virtual clock: Redis's own time with an offset."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.offset_s = 0.0

    def pass_(self, seconds: float) -> None:
        """Let time pass, or set the clock."""
        self.offset_s += seconds
        self._client.set(NAMES.clock, self.offset_s)


def now_ms(client: Client) -> float:
    """Tell Redis's time with its offset, in ms."""
    seconds, micros = client.time()
    return float(seconds * 1000 + micros // 1000 + 1000 * float(client.get(NAMES.clock) or 0))


def put(client: Client, rung: int, name: str, due: object = None, **fields: object) -> None:
    """Write an entry to a rung as somebody else would, and note it as the first to fall due."""
    event = events.encode(make_event(name, patient=True, leg=2, climbed=(rung,)))
    stamp = f"{now_ms(client):.0f}" if due is None else due
    client.xadd(NAMES.rung(rung), {"event": event, "due": stamp, "id": name, **fields})
    note(client, rung)


def note(client: Client, rung: int) -> None:
    """Note that a rung is to be looked at now."""
    client.zadd(NAMES.rungs, {str(rung): 1})
    client.set(f"{NAMES.rungs}:due", 1)


async def climb(at: Desk, *names: str, rung: int = 60) -> None:
    """Let events climb as the call hop does."""
    for name in names:
        run = at.deliver(CALL, make_event(name, patient=True, leg=2, climbed=(rung,)))
        await at.carry((run, Climb(run.event, OVERLOADED, rung)))
