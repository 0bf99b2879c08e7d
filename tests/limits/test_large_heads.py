"""A large request is overtaken for a while; then capacity is held until it fits."""

from pathlib import Path
from typing import Final

import pytest

from pipeline.limits.tickets import Settlement
from pipeline.settings.load import Settings
from tests.limits.rooms import (
    Gate,
    Gates,
    configured,
    deployment,
    due_s,
    granted,
    in_state,
    use,
    wall,
)
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

#: Ten tokens a second, of which ten may go at once: a large request takes all of those.
LARGE: Final = {"prompt_tokens": 5, "output_tokens": 5}
SMALL: Final = {"prompt_tokens": 1, "output_tokens": 1}
USED: Final = Settlement(ending="answered", prompt_tokens=1, completion_tokens=1)
AGING_S: Final = 20

#: Which of the numbers of `ground.lua` names the room that a deployment is held for, less one.
HOLDER: Final = 20


def shared(directory: Path) -> Settings:
    """Configure two models that share a deployment; the second one has another, which is spent."""
    one = deployment("a", tpm=600)
    models = {
        "m": {"deployments": [one]},
        "n": {"deployments": [one, deployment("b", tpm=600, concurrency=1)]},
    }
    return configured(directory, gate={"aging_s": AGING_S}, models=models)


async def press(gate: Gate, count: int, **changes: object) -> None:
    """Queue so many small requests."""
    for n in range(count):
        await gate.queue(f"small {n}", **SMALL, **changes)


async def step(gate: Gate, **changes: object) -> list[str]:
    """Let 0.4 s pass, in which small requests come and go; gives those that got leases."""
    await gate.later(0.4)
    served = granted(gate.client)
    for name in served:
        if name.startswith("small"):
            await gate.end(await gate.take(name, **SMALL, **changes), USED)
    return served


def rooms(client: Client) -> list[str]:
    """List the rooms in which somebody waits."""
    return [name.decode() for name in client.smembers(f"{NAMES.limits}:rooms")]


async def seconds_to(gate: Gate, wanted: str, since: float, **changes: object) -> float:
    """Tell how long one has waited, since a time of the wall, while small requests come and go."""
    for _ in range(200):
        if wanted in await step(gate, **changes):
            return wall(gate.client) - since
    raise AssertionError(f"{wanted} starved")


async def test_a_large_head_is_overtaken_by_lower_classes_for_no_longer_than_aging(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, gate={"aging_s": AGING_S}, limits={"tpm": 600})
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        await gate.take("first", **LARGE)
        since = wall(client)
        await gate.wait("large", **LARGE)
        await press(gate, 150, priority=-10)
        seconds = await seconds_to(gate, "large", since, priority=-10)
        assert AGING_S <= seconds <= AGING_S + 5
        assert len(in_state(client, "waiting")) < 100, "the others went in the meantime"


async def test_capacity_is_held_for_a_large_head_against_another_room(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, shared(tmp_path)) as gates:
        gate = gates.first
        await gate.take("first", **LARGE)
        await gate.take("on b", model="n", tried=("p/a",), **LARGE)
        since = wall(client)
        await gate.wait("large", **LARGE)
        await press(gate, 150, model="n", priority=10)
        seconds = await seconds_to(gate, "large", since, model="n", priority=10)
        assert AGING_S <= seconds <= AGING_S + 5
        assert all(due_s(client, f"r {room}") < 2 for room in rooms(client)), "nobody sleeps on"
        await gate.end(await gate.take("large", **LARGE))
        before = len(in_state(client, "waiting"))
        for _ in range(10):
            await step(gate, model="n", priority=10)
        assert len(in_state(client, "waiting")) < before - 5, "and then for it no more"


async def test_who_comes_anew_does_not_take_what_is_held(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, shared(tmp_path)) as gates:
        gate = gates.first
        await gate.take("on b", model="n", tried=("p/a",), **LARGE)
        await held_for_large(gate)
        assert await gate.rush("new", model="n", **SMALL) == []


async def held_for_large(gate: Gate) -> None:
    """Bring it about that the deployment is held for a large head."""
    await gate.take("first", **LARGE)
    await gate.wait("large", **LARGE)
    await press(gate, 150, priority=-10)
    for _ in range(int(AGING_S / 0.4) + 5):
        await step(gate, priority=-10)
        if use(gate.client, "d:p/a")[HOLDER]:
            return
    raise AssertionError("nothing was held")


async def test_what_was_held_is_free_when_the_large_request_leaves(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, shared(tmp_path)) as gates:
        gate = gates.first
        await gate.take("on b", model="n", tried=("p/a",), **LARGE)
        await held_for_large(gate)
        await gate.admission.leave(gate.ask("large", **LARGE))
        assert not use(client, "d:p/a")[HOLDER]
        before = len(in_state(client, "waiting"))
        await gate.later(1)
        assert len(in_state(client, "waiting")) < before


async def test_what_was_held_is_free_when_the_large_request_went_elsewhere(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    one, two = deployment("a", tpm=600), deployment("b", tpm=600, concurrency=1)
    models = {"m": {"deployments": [one, two]}, "n": {"deployments": [one]}}
    settings = configured(tmp_path, gate={"aging_s": AGING_S}, models=models)
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        on_b = await gate.take("on b", tried=("p/a",), **LARGE)
        await held_for_large(gate)
        await gate.end(on_b)
        assert "large" in granted(client)
        assert not use(client, "d:p/a")[HOLDER]
