"""What the tests of the limits share: a configuration, processes that admit, looks into Redis."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from pipeline import clock
from pipeline import event as events
from pipeline.catalog import Catalog
from pipeline.event import Event, Lease
from pipeline.limits.admission import Admission
from pipeline.limits.tickets import Refusal, Settlement, Waiting
from pipeline.settings.load import Settings, load
from tests.streams import rig
from tests.streams.rig import NAMES, Client

Section = Mapping[str, object]

#: What a call ends with that used as many tokens as it was said to.
DONE: Final = Settlement(ending="answered", prompt_tokens=10, completion_tokens=10)
AGAIN: Final = Settlement(ending="again")
FAILED: Final = Settlement(ending="failed")


def configured(directory: Path, **sections: object) -> Settings:
    """Load a configuration; `limits` are those of the one deployment of the model `m`."""
    limits = sections.pop("limits", {})
    provider: Section = {"kind": "simulated", "base_url": "http://127.0.0.1:1/v1"}
    tree: dict[str, object] = {
        "gateway": {"default_model": "m"},
        # As the environment of the tests says to who reads this file beside them.
        "telemetry": {"metrics_port": 0},
        "providers": {"p": provider},
        "models": {"m": {"deployments": [{"provider": "p", "model": "a", "limits": limits}]}},
        **sections,
    }
    file = directory / "sluice.yaml"
    file.write_text(json.dumps(tree))
    return load(file, environ={})


def provider(*keys: str, **settings: object) -> Section:
    """Give a provider's section with these keys."""
    return {
        "kind": "simulated",
        "base_url": "http://127.0.0.1:1/v1",
        "keys": list(keys),
        **settings,
    }


def deployment(name: str, **limits: int) -> Section:
    """Give a deployment of the provider `p`."""
    return {"provider": "p", "model": name, "limits": limits}


def leased(event: Event, lease: Lease) -> Event:
    """Give an event its lease and the generation of its call, as the hops do."""
    return msgspec.structs.replace(
        event, lease=lease, generation=event.next_generation, attempts=event.attempts + 1
    )


class Gate:
    """One process's admission, as its gate and call use it."""

    def __init__(self, admission: Admission, catalog: Catalog, client: Client) -> None:
        self.admission = admission
        self.catalog = catalog
        self.client = client

    def ask(self, request_id: str, **changes: object) -> Event:
        """Make a request with its plan; 10 tokens of a prompt and 10 of an answer."""
        model = str(changes.pop("model", "m"))
        tokens = {"prompt_tokens": 10, "output_tokens": 10, "created": clock.now()}
        plan = self.catalog.candidates(model)
        return rig.make_event(request_id, model=model, plan=plan, **{**tokens, **changes})

    async def take(self, request: Event | str, **changes: object) -> Event:
        """Take a lease that has to be there."""
        event = self.ask(request, **changes) if isinstance(request, str) else request
        verdict = await self.admission.admit(event)
        assert isinstance(verdict, Lease), verdict
        return leased(event, verdict)

    async def wait(self, *request_ids: str, **changes: object) -> None:
        """Take a place to wait at for each, and park it."""
        for request_id in request_ids:
            event = self.ask(request_id, **changes)
            verdict = await self.admission.admit(event)
            assert isinstance(verdict, Waiting), verdict
            self.client.hset(NAMES.parked, request_id, events.encode(event))

    async def queue(self, request: Event | str, **changes: object) -> Waiting:
        """Take a place to wait at, park, and tell what was said of the place."""
        event = self.ask(request, **changes) if isinstance(request, str) else request
        verdict = await self.admission.admit(event)
        assert isinstance(verdict, Waiting), verdict
        self.client.hset(NAMES.parked, event.id, events.encode(event))
        return verdict

    async def later(self, seconds: float) -> None:
        """Move the virtual clock and look, as the worker does that promised to."""
        advance(self.client, seconds)
        await self.admission.sweep()

    async def serve(self, holder: Event, count: int, service_s: float = 0.0) -> list[str]:
        """End a call, then each that its end lets in; list whom they were, in their order."""
        served: list[str] = []
        for _ in range(count):
            advance(self.client, service_s)
            await self.end(holder)
            [request_id] = granted(self.client)
            served.append(request_id)
            holder = await self.take(request_id)
        return served

    async def refused(self, request: Event | str, **changes: object) -> Refusal:
        """Be refused."""
        event = self.ask(request, **changes) if isinstance(request, str) else request
        verdict = await self.admission.admit(event)
        assert isinstance(verdict, Refusal), verdict
        return verdict

    async def rush(self, *request_ids: str, **changes: object) -> list[Event]:
        """Ask for all at one moment; gives those with a lease, the others have left again."""
        asked = [self.ask(request_id, **changes) for request_id in request_ids]
        verdicts = await asyncio.gather(*(self.admission.admit(event) for event in asked))
        got: list[Event] = []
        for event, verdict in zip(asked, verdicts, strict=True):
            if isinstance(verdict, Lease):
                got.append(leased(event, verdict))
            else:
                await self.admission.leave(event)
        return got

    async def eta_s(self, request_id: str, **changes: object) -> float:
        """Tell how long a request would have to wait; it does not."""
        event = self.ask(request_id, **changes)
        verdict = await self.admission.admit(event)
        assert isinstance(verdict, Waiting), verdict
        await self.admission.leave(event)
        return verdict.eta_s

    async def renew(self, event: Event) -> None:
        """Keep the lease of a call under way, as the worker does that holds its event."""
        await self.admission.renew([msgspec.structs.replace(event, attempts=event.attempts - 1)])

    async def end(self, event: Event, end: Settlement = DONE) -> None:
        """Settle a call."""
        await self.admission.settle(event, end)


class Gates:
    """Several processes' gates, each on a connection of its own, under one configuration."""

    def __init__(self, url: str, client: Client, settings: Settings, count: int = 1) -> None:
        self._url = url
        self._client = client
        self._settings = settings
        self._count = count
        self._stack = AsyncExitStack()
        self.gates: list[Gate] = []

    async def __aenter__(self) -> Self:
        catalog = Catalog(self._settings)
        for n in range(self._count):
            link = await self._stack.enter_async_context(rig.linked(self._url, f"p{n}"))
            admission = Admission(link, NAMES, self._settings, catalog)
            self._stack.push_async_callback(admission.settled)
            self.gates.append(Gate(admission, catalog, self._client))
        await self.gates[0].admission.publish()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def first(self) -> Gate:
        """The first gate."""
        return self.gates[0]


def tickets(client: Client) -> dict[str, dict[str, object]]:
    """List all tickets."""
    packed = client.hgetall(f"{NAMES.limits}:tickets")
    return {name.decode(): msgspec.msgpack.decode(ticket) for name, ticket in packed.items()}


def in_state(client: Client, state: str) -> list[str]:
    """List the tickets in a state, in the order of their coming."""
    found = [(t["order"], name) for name, t in tickets(client).items() if t["state"] == state]
    return [name for _, name in sorted(found, key=str)]


def use(client: Client, scope: str) -> list[float]:
    """Read what is used of a scope, by the numbers of `ground.lua` less one."""
    packed = client.get(f"{NAMES.limits}:use:{scope}")
    return list(msgspec.msgpack.decode(packed)) if packed else []


def calls(client: Client, scope: str) -> int:
    """Count the calls under way in a scope."""
    used = use(client, scope)
    return int(used[2]) if used else 0


def woken(client: Client) -> list[str]:
    """List the requests that came back to the gate, and those that will."""
    return rig.ids(client, "gate") + [name.decode() for name in client.hkeys(NAMES.woken)]


def advance(client: Client, seconds: float) -> None:
    """Move the virtual clock."""
    client.set(NAMES.clock, float(client.get(NAMES.clock) or 0) + seconds)


def wall(client: Client) -> float:
    """Tell the limits' time in Unix seconds."""
    seconds, micros = client.time()
    return float(seconds + micros / 1e6 + float(client.get(NAMES.clock) or 0))


def to_midnight(client: Client, before_s: float) -> None:
    """Move the virtual clock to so many seconds before the end of a day in UTC."""
    advance(client, 86_400 - before_s - wall(client) % 86_400)


def granted(client: Client) -> list[str]:
    """List the requests that have leases, by when these run out."""
    return [name.decode()[2:] for name in client.zrange(f"{NAMES.limits}:due:leases", 0, -1)]


def due_s(client: Client, member: str) -> float:
    """Tell in how many seconds somebody looks at a scope (`s …`) or room (`r …`); -1: never."""
    at = client.zscore(f"{NAMES.limits}:due", member)
    return float(at) / 1000 - wall(client) if at is not None else -1.0
