"""However many processes ask in whatever order: never more leases than a deployment allows."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import clock
from pipeline import event as events
from pipeline.event import Candidate, Event, Lease
from pipeline.limits.admission import LEASE_S, Admission
from tests.limits.rooms import Processes, advance, ask, leased, leases, waiting
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

LIMITS = {"p/a": 2, "p/b": 3}
BOTH = tuple(Candidate(deployment=name, concurrency=most) for name, most in LIMITS.items())
PLANS = (BOTH, BOTH[:1], BOTH[1:], BOTH[::-1])

steps = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "admit", "settle", "leave", "sweep", "mend", "pass"]),
        st.integers(0, 11),
    ),
    max_size=40,
)


def none_over(client: Client) -> None:
    for name, most in LIMITS.items():
        assert len(leases(client, name)) <= most


class Walk:
    """Takes steps with requests of which each has a plan of its own."""

    def __init__(self, admissions: list[Admission], client: Client) -> None:
        self._admissions = admissions
        self._client = client
        self.requests = [ask(f"r{n}", *PLANS[n % len(PLANS)]) for n in range(12)]
        self.held: dict[str, Event] = {}

    async def take(self, what: str, number: int) -> None:
        """Take one step."""
        admission = self._admissions[number % len(self._admissions)]
        event = self.requests[number]
        match what:
            case "admit":
                await self._admit(admission, event)
            case "settle":
                if held := self.held.pop(event.id, None):
                    await admission.settle(held)
            case "leave":
                self.held.pop(event.id, None)
                self._client.hdel(NAMES.parked, event.id)
                await admission.leave(event)
            case "sweep":
                await admission.sweep()
            case "mend":
                await admission.mend()
            case _:
                advance(self._client, LEASE_S / 4 * (number % 6))

    async def _admit(self, admission: Admission, event: Event) -> None:
        lease = await admission.admit(event)
        if isinstance(lease, Lease):
            allowed = {candidate.deployment for candidate in event.plan}
            assert lease.deployment in allowed
            self.held[event.id] = leased(event, lease)
        else:
            self._client.hset(NAMES.parked, event.id, events.encode(event))


@rig.law(60)
@given(steps=steps)
async def test_no_order_of_steps_admits_over(
    redis_url: str, client: Client, steps: list[tuple[str, int]]
) -> None:
    client.flushdb()
    async with Processes(redis_url, 3) as here:
        walk = Walk(here.admissions, client)
        for what, number in steps:
            await walk.take(what, number)
            none_over(client)
        await drained(walk, here.admissions[0], client)


async def drained(walk: Walk, admission: Admission, client: Client) -> None:
    """When everything has been given back and has run out, nobody waits in vain."""
    for _ in range(30):
        for event in walk.requests:
            if any(f"1.{event.id}" in leases(client, name) for name in LIMITS):
                await admission.leave(event)
        if not client.exists(f"{NAMES.limits}:rooms"):
            break
    assert not client.exists(f"{NAMES.limits}:rooms")
    assert not client.exists(f"{NAMES.limits}:where")


async def test_processes_that_compete_never_hold_more_than_allowed(
    redis_url: str, client: Client
) -> None:
    plan = Candidate(deployment="p/a", concurrency=5)
    using, peak, served = 0, 0, []

    async def woken(event: Event) -> None:
        await rig.until(lambda: client.hget(NAMES.parked, event.id) == b"woken", event.id)
        client.hdel(NAMES.parked, event.id)

    async def serve(admission: Admission, event: Event) -> None:
        nonlocal using, peak
        lease = await admission.admit(event)
        while not isinstance(lease, Lease):
            await woken(event)
            lease = await admission.admit(event)
        using += 1
        peak = max(peak, using)
        await asyncio.sleep(clock.chance.random() * 0.004)
        using -= 1
        served.append(event.id)
        await admission.settle(leased(event, lease))

    async with Processes(redis_url, 4) as here:
        await asyncio.gather(
            *(serve(here.admissions[n % 4], ask(f"r{n}", plan)) for n in range(150))
        )
    assert peak <= 5
    assert len(served) == 150
    assert leases(client) == []
    assert waiting(client) == []


async def test_questions_of_one_turn_are_one_call_of_the_script(
    redis_url: str, client: Client
) -> None:
    plan = Candidate(deployment="p/a", concurrency=1000)
    async with Processes(redis_url, 1) as here:
        [admission] = here.admissions
        await admission.admit(ask("warm", plan))
        client.config_resetstat()
        await asyncio.gather(*(admission.admit(ask(f"r{n}", plan)) for n in range(100)))
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == 1
    assert len(leases(client)) == 101
