"""What the tests of admission share: requests with a plan, and processes that admit them."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import msgspec

from pipeline.event import Candidate, Event, Lease
from pipeline.limits.admission import Admission
from tests.streams import rig
from tests.streams.rig import NAMES, Client, make_event


def ask(request_id: str, *plan: Candidate, **changes: object) -> Event:
    """Make a request that may go to these candidates: p/a with one call at once unless told."""
    return make_event(request_id, plan=plan or (one(),), **changes)


def one(deployment: str = "p/a", concurrency: int = 1, keys: int = 1) -> Candidate:
    """Make a candidate."""
    return Candidate(deployment=deployment, concurrency=concurrency, keys=keys)


def leased(event: Event, lease: Lease) -> Event:
    """Give an event its lease, as the gate does."""
    return msgspec.structs.replace(event, lease=lease)


def leases(client: Client, deployment: str = "p/a") -> list[str]:
    """List the tickets that hold a lease on a deployment."""
    return [
        ticket.decode() for ticket in client.zrange(f"{NAMES.limits}:lease:{deployment}", 0, -1)
    ]


def waiting(client: Client, room: str = "p/a") -> list[str]:
    """List the tickets in a room, the first to go first."""
    return [ticket.decode() for ticket in client.zrange(f"{NAMES.limits}:room:{room}", 0, -1)]


def woken(client: Client) -> list[str]:
    """List the requests that came back to the gate, and those that will."""
    marked = [
        name.decode() for name, mark in client.hgetall(NAMES.parked).items() if mark == b"woken"
    ]
    return rig.ids(client, "gate") + marked


def advance(client: Client, seconds: float) -> None:
    """Move the virtual clock."""
    client.set(NAMES.clock, float(client.get(NAMES.clock) or 0) + seconds)


class Processes:
    """Several processes' admissions, each on a connection of its own."""

    def __init__(self, url: str, count: int) -> None:
        self._url = url
        self._count = count
        self._stack = AsyncExitStack()
        self.admissions: list[Admission] = []

    async def __aenter__(self) -> Self:
        for n in range(self._count):
            link = await self._stack.enter_async_context(rig.linked(self._url, f"p{n}"))
            self.admissions.append(Admission(link, NAMES))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
