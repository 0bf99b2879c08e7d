"""Tenants share a room by their weights, however many requests each of them sends."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event import Event
from tests.limits.rooms import Gate, Gates, configured
from tests.streams import rig
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio


def tenant_of(request_id: str) -> str:
    return request_id.partition("-")[0]


async def crowd(gate: Gate, **counts: int) -> None:
    """Have so many requests of each tenant wait; nobody parks them."""
    for tenant, count in counts.items():
        asked = [gate.ask(f"{tenant}-{n}", tenant=tenant) for n in range(count)]
        await asyncio.gather(*(gate.admission.admit(event) for event in asked))


async def served(gate: Gate, holder: Event, count: int) -> list[str]:
    """List the tenants of the next grants."""
    return [tenant_of(request_id) for request_id in await gate.serve(holder, count)]


async def test_weights_of_one_and_three_share_one_to_three(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    tenants = {"light": {"weight": 1}, "heavy": {"weight": 3}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants=tenants)
    async with Gates(redis_url, client, settings) as gates:
        holder = await gates.first.take("holder", tenant="other")
        await crowd(gates.first, light=200, heavy=200)
        order = await served(gates.first, holder, 200)
    for end in range(40, 201, 20):
        share = order[:end].count("heavy") / end
        assert share == pytest.approx(0.75, rel=0.05)


async def test_nine_small_tenants_are_served_as_if_alone_with_a_tenth(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    names = [f"small{n}" for n in range(9)]
    tenants: dict[str, object] = {name: {} for name in ("large", *names)}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants=tenants)
    async with Gates(redis_url, client, settings) as gates:
        holder = await gates.first.take("holder", tenant="other")
        await crowd(gates.first, large=5000)
        await crowd(gates.first, **dict.fromkeys(names, 10))
        order = await served(gates.first, holder, 120)
    for name in names:
        turns = [n for n, tenant in enumerate(order, 1) if tenant == name]
        assert len(turns) == 10
        assert all(turn <= 10 * (k + 1) + 1 for k, turn in enumerate(turns))
    assert order[-15:] == ["large"] * 15


async def test_who_was_away_has_saved_nothing_up(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants={"busy": {}, "late": {}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("holder", tenant="other")
        await crowd(gate, busy=100)
        order = await gate.serve(holder, 50)
        holder = gate.ask(order[-1])
        await crowd(gate, late=20)
        [last] = order[-1:]
        order = await served(gate, await gate.take(last), 20)
        assert abs(order.count("busy") - order.count("late")) <= 1


async def test_who_sends_one_at_a_time_does_not_pass_its_share(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants={"many": {}, "one": {}})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("holder", tenant="other")
        await crowd(gate, many=60)
        order: list[str] = []
        for n in range(40):
            if not n or tenant_of(order[-1]) == "one":
                await gate.admission.admit(gate.ask(f"one-{n}", tenant="one"))
            order += await gate.serve(holder, 1)
            holder = await gate.take(order[-1])
        counts = Counter(tenant_of(request_id) for request_id in order)
        assert abs(counts["one"] - counts["many"]) <= 1


@rig.law(15)
@given(weights=st.lists(st.integers(1, 5), min_size=2, max_size=5), late=st.integers(0, 4))
async def test_backlogged_tenants_differ_by_no_more_than_the_bound(
    redis_url: str, client: Client, tmp_path: Path, weights: list[int], late: int
) -> None:
    client.flushdb()
    of = {f"t{n}": weight for n, weight in enumerate(weights)}
    tenants = {name: {"weight": weight} for name, weight in of.items()}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants=tenants)
    late = min(late, len(of) - 1)
    async with Gates(redis_url, client, settings, 2) as gates:
        one, two = gates.gates
        holder = await one.take("holder", tenant="other")
        await crowd(two, **dict.fromkeys(list(of)[late:], 60))
        if late:
            holder = await one.take((await one.serve(holder, 10))[-1])
            await crowd(one, **dict.fromkeys(list(of)[:late], 50))
        order = await served(two, holder, 40)
    for end in range(1, 41):
        check(Counter(order[:end]), of, together=not late)


async def test_equal_tenants_that_came_together_differ_by_one_at_most(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    of = {f"t{n}": 1 for n in range(7)}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants={name: {} for name in of})
    async with Gates(redis_url, client, settings) as gates:
        holder = await gates.first.take("holder", tenant="other")
        await crowd(gates.first, **dict.fromkeys(of, 20))
        order = await served(gates.first, holder, 140)
    for end in range(1, 141):
        check(Counter(order[:end]), of, together=True)


def check(counts: Counter[str], weights: dict[str, int], *, together: bool) -> None:
    """Start-time fair queueing: |Wf/wf - Wg/wg| <= 1/wf + 1/wg, whenever a tenant came; equal ones
    that came together differ by one.
    """
    for f, of_f in weights.items():
        for g, of_g in weights.items():
            apart = abs(counts[f] / of_f - counts[g] / of_g)
            assert apart <= 1 / of_f + 1 / of_g + 1e-9, (counts, weights)
            if together and of_f == of_g:
                assert abs(counts[f] - counts[g]) <= 1, (counts, weights)
