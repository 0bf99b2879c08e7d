"""Nobody waits for ever: a class, or a large head, that got nothing for so long goes first."""

from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.event import Event
from pipeline.limits.tickets import Settlement
from tests.limits.rooms import Gate, Gates, advance, configured, granted, wall
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio

HIGH, LOW = 10, -10
AGING_S = 10
SERVICE_S = 3


async def timed(gate: Gate, holder: Event, count: int) -> list[tuple[str, float]]:
    """Serve so many, each for `SERVICE_S`; list them with the seconds at which they began."""
    order = []
    for n in range(1, count + 1):
        [request_id] = await gate.serve(holder, 1, SERVICE_S)
        holder = await gate.take(request_id)
        order.append((request_id, float(n * SERVICE_S)))
    return order


async def test_a_low_class_gets_a_grant_per_aging_under_full_high_load(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1}, gate={"aging_s": AGING_S})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("holder")
        await gate.wait(*(f"high{n}" for n in range(60)), priority=HIGH)
        await gate.wait(*(f"low{n}" for n in range(9)), priority=LOW)
        order = await timed(gate, holder, 40)
    low = [0.0, *(at for name, at in order if name.startswith("low"))]
    gaps = [later - earlier for earlier, later in pairwise(low)]
    assert len(gaps) >= 9
    assert all(AGING_S < gap <= AGING_S + SERVICE_S for gap in gaps)


async def test_two_lower_classes_age_side_by_side(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1}, gate={"aging_s": AGING_S})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("holder")
        await gate.wait(*(f"high{n}" for n in range(60)), priority=HIGH)
        await gate.wait(*(f"mid{n}" for n in range(9)))
        await gate.wait(*(f"low{n}" for n in range(9)), priority=LOW)
        order = await timed(gate, holder, 30)
    for name in ("mid", "low"):
        turns = [0.0, *(at for request_id, at in order if request_id.startswith(name))]
        gaps = [later - earlier for earlier, later in pairwise(turns)]
        assert len(gaps) >= 6
        assert max(gaps) <= AGING_S + 2 * SERVICE_S
    assert sum(name.startswith("high") for name, _ in order) >= 14


async def test_a_class_in_which_nobody_waited_has_not_aged(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"concurrency": 1}, gate={"aging_s": AGING_S})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        holder = await gate.take("holder")
        await gate.wait("high1", "high2", priority=HIGH)
        advance(client, AGING_S + 5)
        await gate.queue("low", priority=LOW)
        assert await gate.serve(holder, 3) == ["high1", "high2", "low"]


async def test_a_large_head_is_not_overtaken_for_longer_than_aging(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    # 100 tokens a second; a request of 3,000 needs the bucket as it is at rest.
    settings = configured(tmp_path, limits={"tpm": 6000}, gate={"aging_s": AGING_S})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        whole = Settlement(ending="answered", prompt_tokens=10, completion_tokens=30)
        await gate.take("first", output_tokens=190)
        await gate.queue("large", output_tokens=2990)
        overtaken, at_s, since = 0, 0.0, wall(client)
        for n in range(120):
            # 160 tokens a second are wanted.
            await gate.admission.admit(gate.ask(f"small{n}", priority=LOW, output_tokens=30))
            await gate.later(0.25)
            for name in granted(client):
                at_s = at_s or (wall(client) - since) * (name == "large")
                overtaken += name.startswith("small") and not at_s
                if name != "first":
                    await gate.end(await gate.take(name), whole)
        assert overtaken > 5
        assert AGING_S - 0.1 <= at_s <= AGING_S + 5
