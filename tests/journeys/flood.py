"""`python -m tests.journeys.flood {…}`: one process that asks for more leases than there are.

It goes by `pipeline.limits.admission` alone, as a worker's gate and call do, and prints a line for
each lease it had: when that was granted, by the clock of the limits, and when it was given back.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.event import Event, Lease
from pipeline.limits.admission import Admission
from pipeline.limits.tickets import Settlement, ticket_of
from pipeline.names import Names
from pipeline.settings.load import Settings, load
from pipeline.streams.link import Link

#: The list by which each process tells that it is ready, and that by which all then begin.
READY, BEGUN = "flood:ready", "flood:begun"
#: Requests of one model that ask or wait at once.
_DEMAND = 12
_LOOK_S = 0.03
_MOST_TOKENS = 50


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is to do."""

    name: str
    config: str
    url: str
    #: How long it asks, once all are ready.
    seconds: float
    #: Models, and the tenant that asks for each.
    models: dict[str, str]


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that there was."""

    model: str
    ticket: str
    #: In ms of the limits' clock, and in ms of the wall just before it was given back.
    at: float
    end: float
    #: Tokens that were reserved, and those used in the end.
    taken: int
    used: int


class _Flood:
    def __init__(self, order: Order, link: Link, settings: Settings) -> None:
        self._order = order
        self._link = link
        self._names = Names(settings.redis.namespace)
        self._catalog = Catalog(settings)
        self._admission = Admission(link, self._names, settings, self._catalog)
        self._waiting: dict[str, tuple[Event, asyncio.Event]] = {}
        self._until = 0.0

    async def run(self) -> None:
        await self._admission.publish()
        await self._link.call("RPUSH", READY, self._order.name)
        begun = None
        while begun is None:
            begun = await self._link.call("BLMOVE", BEGUN, BEGUN, "LEFT", "RIGHT", 1)
        self._until = float(begun) + self._order.seconds
        looking = asyncio.create_task(self._look())
        models = [pair for pair in self._order.models.items() for _ in range(_DEMAND)]
        await asyncio.gather(*(self._ask_on(number, *pair) for number, pair in enumerate(models)))
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await self._admission.settled()

    async def _ask_on(self, number: int, model: str, tenant: str) -> None:
        for request in self._requests(f"{self._order.name}-{number}", model, tenant):
            if await self._lease(request):
                await self._hold(request)
            else:
                await self._admission.leave(request)

    def _requests(self, name: str, model: str, tenant: str) -> Iterator[Event]:
        plan, count = self._catalog.candidates(model), 0
        while clock.now() < self._until:
            count += 1
            yield Event(
                id=f"{name}-{count}", model=model, tenant=tenant, plan=plan, body_bytes=0,
                created=clock.now(), prompt_tokens=clock.chance.randint(1, 10),
                output_tokens=clock.chance.randint(1, _MOST_TOKENS),
            )  # fmt: skip

    async def _lease(self, request: Event) -> bool:
        """Tell whether the request got a lease before the end."""
        turn = asyncio.Event()
        self._waiting[ticket_of(request)] = request, turn
        try:
            while not isinstance(await self._admission.admit(request), Lease):
                turn.clear()
                async with asyncio.timeout_at(self._ends_at()):
                    await turn.wait()
        except TimeoutError:
            return False
        finally:
            del self._waiting[ticket_of(request)]
        return True

    def _ends_at(self) -> float:
        return asyncio.get_running_loop().time() + max(0.0, self._until - clock.now())

    async def _hold(self, request: Event) -> None:
        packed = await self._link.call("HGET", f"{self._names.limits}:tickets", ticket_of(request))
        ticket = msgspec.msgpack.decode(packed)
        await asyncio.sleep(clock.chance.uniform(0.002, 0.03))
        answer = clock.chance.randint(0, request.output_tokens)
        granted = Granted(
            model=request.model, ticket=ticket_of(request), at=ticket["at"],
            end=clock.now() * 1000, taken=request.prompt_tokens + request.output_tokens,
            used=request.prompt_tokens + answer,
        )  # fmt: skip
        sys.stdout.buffer.write(msgspec.json.encode(granted) + b"\n")
        end = Settlement(
            ending="answered", prompt_tokens=request.prompt_tokens, completion_tokens=answer
        )
        await self._admission.settle(request, end)

    async def _look(self) -> None:
        """Do what the stream `gate` does for workers: tell those that were woken."""
        while True:
            await asyncio.sleep(_LOOK_S)
            found = await self._link.call("HKEYS", self._names.woken)
            for request_id in found:
                request, turn = self._waiting.get(f"1.{request_id.decode()}", (None, None))
                if request and turn:
                    await self._link.call("HDEL", self._names.woken, request_id)
                    turn.set()


async def _main(order: Order) -> None:
    settings = load(Path(order.config), environ={})
    link = Link(order.url, name=f"flood-{order.name}")
    await link.open()
    try:
        await _Flood(order, link, settings).run()
    finally:
        await link.close()


if __name__ == "__main__":
    asyncio.run(_main(msgspec.json.decode(sys.argv[1], type=Order)))
