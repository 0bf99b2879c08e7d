"""Wake-ups in real time: by a release or by the one alarm, and nobody polls."""

import asyncio
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.limits.rooms import Gate, Gates, Section, configured, granted, in_state, tickets, woken
from tests.limits.test_deadlines import came_back_s
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

PATIENCE_S = 10


def commands(client: Client) -> int:
    """Count the commands that Redis has run."""
    return int(client.info("stats")["total_commands_processed"])


def evaluations(client: Client) -> int:
    return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


def window(requests: int, seconds: float) -> Section:
    return {"acme": {"limits": {"window": {"requests": requests, "seconds": seconds}}}}


async def drained(gates: Gates, client: Client, count: int) -> list[float]:
    """Serve whoever comes until so many were; list when each came back to the gate."""
    served: set[str] = set()
    deadline = time.monotonic() + PATIENCE_S
    while len(served) < count and time.monotonic() < deadline:
        for name in set(woken(client)) - served:
            served.add(name)
            gate = gates.gates[len(served) % len(gates.gates)]
            await gate.end(await gate.take(name, tenant="acme"))
        await asyncio.sleep(0.005)
    assert len(served) == count, served
    return sorted(came_back_s(client).values())


async def test_who_waits_for_the_providers_rate_is_woken_as_it_refills(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"rpm": 600, "burst": 1})
    async with Gates(redis_url, client, settings, 3) as gates:
        started = time.monotonic()
        await gates.first.take("first")
        for n in range(9):
            await gates.gates[n % 3].queue(f"w{n}")
        times = await drained(gates, client, 9)
        assert time.monotonic() - started < 1.5
    assert all(0.08 < later - earlier < 0.4 for earlier, later in pairwise(times))


async def test_who_is_held_by_our_window_is_woken_as_it_slides(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants=window(3, 0.3))
    async with Gates(redis_url, client, settings, 3) as gates:
        for n in range(3):
            await gates.first.take(f"first{n}", tenant="acme")
        began = client.time()
        for n in range(6):
            await gates.gates[n % 3].queue(f"w{n}", tenant="acme")
        times = [at - began[0] - began[1] / 1e6 for at in await drained(gates, client, 6)]
    assert all(0.2 < at < 0.5 for at in times[:3])
    assert all(0.5 < at < 0.9 for at in times[3:])


async def test_a_release_wakes_the_next_at_once_in_whatever_process(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path, limits={"concurrency": 1}), 2) as here:
        one, two = here.gates
        holder = await one.take("first")
        await two.queue("a")
        await one.end(holder)
        assert woken(client) == ["a"]
        assert not client.exists(f"{NAMES.limits}:alarm")


async def test_one_alarm_is_enough_for_three_processes(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    spans = {"far": 0.15, "near": 0.1, "next": 0.05}
    tenants = {name: window(1, seconds)["acme"] for name, seconds in spans.items()}
    async with Gates(redis_url, client, configured(tmp_path, tenants=tenants), 3) as gates:
        for name, gate in zip(spans, gates.gates, strict=True):
            await gate.take(f"first-{name}", tenant=name)
        # Each promises to look before the one before did.
        for name, gate in zip(spans, gates.gates, strict=True):
            await gate.queue(f"{name}-0", tenant=name)
        for n in range(1, 9):
            await gates.gates[n % 3].queue(f"far-{n}", tenant="far")
        before = evaluations(client)
        await rig.until(lambda: len(woken(client)) == 10, timeout_s=PATIENCE_S)
        spent = evaluations(client) - before
    # At most an alarm and a wake-up for each of ten, two that were overtaken, and some to spare.
    assert spent <= 2 * 10 + 2 + 4


async def test_the_promise_of_a_process_that_died_is_taken_over(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants=window(1, 0.2))
    async with Gates(redis_url, client, settings, 2) as gates:
        dying, living = gates.gates
        await dying.end(await dying.take("first", tenant="acme"))
        await dying.queue("a", tenant="acme")
        await dying.queue("b", tenant="acme")
        # It takes its alarm with it.
        await dying.admission.settled()
        await asyncio.sleep(0.4)
        assert woken(client) == []
        await living.admission.sweep()
        assert woken(client) == ["a"]
        await living.end(await living.take("a", tenant="acme"))
        await rig.until(lambda: woken(client) == ["a", "b"], timeout_s=PATIENCE_S)


async def test_a_promise_that_lives_is_not_made_twice(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants=window(1, 30))
    async with Gates(redis_url, client, settings, 2) as gates:
        one, two = gates.gates
        await one.take("first", tenant="acme")
        await one.queue("a", tenant="acme")
        promised = client.get(f"{NAMES.limits}:alarm")
        await two.queue("b", tenant="acme")
        await two.admission.sweep()
        assert client.get(f"{NAMES.limits}:alarm") == promised
        assert two.admission._runner._alarm is None


async def crowd(gate: Gate, count: int, **changes: object) -> None:
    asked = [gate.ask(f"w{n}", **changes) for n in range(count)]
    await asyncio.gather(*(gate.admission.admit(event) for event in asked))


@pytest.mark.parametrize("held", [False, True], ids=["in the room", "held by our limit"])
async def test_nobody_polls_while_ten_thousand_wait(
    redis_url: str, client: Client, tmp_path: Path, held: bool
) -> None:
    tenants = {"acme": {"limits": {"rpm": 1} if held else {}}}
    settings = configured(tmp_path, limits={"concurrency": 1}, tenants=tenants)
    async with Gates(redis_url, client, settings, 2) as gates:
        await gates.first.take("first", tenant="acme")
        await crowd(gates.gates[1], 10_000, tenant="acme")
        assert len(in_state(client, "held" if held else "waiting")) == 10_000
        before = commands(client)
        # The sweep of each process, as its worker calls it every 3 s.
        for gate in gates.gates:
            await asyncio.sleep(1.5)
            await gate.admission.sweep()
        assert commands(client) - before < 20 * 3
        assert granted(client) == ["first"]


async def test_ten_thousand_that_wait_cost_a_release_no_more_than_ten(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async def served(count: int) -> int:
        async with Gates(
            redis_url, client, configured(tmp_path, limits={"concurrency": 1})
        ) as gates:
            holder = await gates.first.take("first")
            await crowd(gates.first, count)
            before = commands(client)
            await gates.first.end(holder)
            spent = commands(client) - before
            client.flushdb()
            return spent

    few = await served(10)
    assert await served(10_000) <= few


async def test_a_crowd_is_let_in_by_parts_and_wholly(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, tenants=window(150, 0.3))
    async with Gates(redis_url, client, settings, 2) as gates:
        await crowd(gates.first, 450, tenant="acme")
        assert len(granted(client)) == 150
        # On a busy machine a whole window may pass between two looks: who was let in meanwhile
        # is ended with the others.
        for count in (150, 300):
            for name in granted(client):
                await gates.first.end(await gates.first.take(name, tenant="acme"))
            let_in = partial(_are_woken, client, count)
            await rig.until(let_in, timeout_s=PATIENCE_S)
        assert len(woken(client)) == 300
        assert {str(t["state"]) for t in tickets(client).values()} <= {"lease"}


def _are_woken(client: Client, count: int) -> bool:
    return len(woken(client)) >= count
