"""What routing costs a worker: finding the candidates, and its share of reading and writing."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from pipeline import event as events
from pipeline.catalog import Catalog
from pipeline.event import Event, Line, written
from pipeline.flow import GATE
from pipeline.outcome import Forward, Outcome
from pipeline.settings.load import DeploymentSettings, ModelSettings, ProviderSettings, Settings
from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.ground import Bench
from workers.route import route

#: µs of CPU per request at the most.
TARGET_US: Final = 30.0
_CANDIDATES: Final = (1, 20)
_BODY: Final = b'{"model":"m","messages":[{"role":"user","content":"%s"}]}' % (b"word " * 100)

Hop = Callable[[Event, Catalog], Awaitable[Outcome]]


async def _routed(event: Event, catalog: Catalog) -> Outcome:
    return await route(event, catalog=catalog)


async def _planned(event: Event, catalog: Catalog) -> Outcome:
    """Look the plan up and judge nothing: the least that routing can be."""
    plan = catalog.candidates(event.model)
    return Forward(msgspec.structs.replace(event, plan=plan), GATE, {"candidates": len(plan)})


def run(bench: Bench) -> list[Figure]:
    """Measure requests without and with needs, beside the plan looked up and nothing judged."""
    times = bench.size(20_000, 4_000)
    figures = []
    for count in _CANDIDATES:
        catalog = _catalog(count)
        plain = min(_cost_us(_routed, catalog, _event(), times) for _ in range(3))
        alone = min(_cost_us(_planned, catalog, _event(), times) for _ in range(3))
        needy = _event(needs=("vision", "tools"), prompt_tokens=9_000, sticky="01234567")
        needing = min(_cost_us(_routed, catalog, needy, times) for _ in range(3))
        bench.say(f"{count} candidates: {shown(plain)} µs, with needs {shown(needing)} µs")
        figures.append(
            Figure(
                what=f"route with {count} candidates",
                value=max(plain, needing),
                unit="µs/request",
                at_most=TARGET_US,
                beside=f"without filters {shown(alone)}, with needs {shown(needing)}",
            )
        )
    return figures


def _cost_us(hop: Hop, catalog: Catalog, event: Event, times: int) -> float:
    """Read, route, write and read at the gate the same event so often; gives µs of CPU for each."""
    payload = events.encode(event)

    async def work() -> float:
        began = time.process_time()
        for _ in range(times):
            outcome = await hop(events.decode(payload), catalog)
            assert isinstance(outcome, Forward)
            line = Line(hop="route", start=1.0, end=2.0, facts=outcome.facts)
            events.decode(events.encode(written(outcome.event, line)))
        return (time.process_time() - began) / times * 1e6

    return asyncio.run(work())


def _event(**changes: object) -> Event:
    event = Event(
        id="0" * 32,
        model="m",
        body=msgspec.Raw(_BODY),
        body_bytes=len(_BODY),
        created=1.0,
        deadline=4e9,
        tenant="acme",
        user="alice",
        prompt_tokens=130,
    )
    return msgspec.structs.replace(event, **changes)


def _catalog(count: int) -> Catalog:
    """Make a catalog of which one deployment in four, and one in five, cannot do everything."""
    listed = tuple(
        DeploymentSettings(
            provider="p",
            model=f"model-{n}",
            weight=n + 1,
            vision=n % 4 != 1,
            tools=True,
            context_tokens=4_000 if n % 5 == 2 else 128_000,
        )
        for n in range(count)
    )
    return Catalog(
        Settings(
            providers={"p": ProviderSettings(kind="vllm")},
            models={"m": ModelSettings(strategy="weighted", deployments=listed)},
        )
    )
