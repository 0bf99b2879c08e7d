"""Strategies: who of equals gets a request, and that the decision is told."""

from collections import Counter
from pathlib import Path

import pytest

from pipeline.event import Event
from pipeline.limits.tickets import Granted, Settlement
from pipeline.settings.load import Settings
from tests.limits.rooms import DONE, Gate, Gates, advance, configured, deployment, provider
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio


def chosen_by(directory: Path, strategy: str, *deployments: object, **model: object) -> Settings:
    """Configure the model `m` with a strategy."""
    return configured(
        directory,
        models={"m": {"strategy": strategy, "deployments": list(deployments), **model}},
    )


def listed(name: str, **settings: object) -> dict[str, object]:
    """List a deployment of the provider `p`."""
    return {"provider": "p", "model": name, **settings}


def name(event: Event) -> str:
    """Name the deployment of a leased event."""
    assert event.lease
    return event.lease.deployment.removeprefix("p/")


def took(first_s: float, total_s: float, tokens: int = 100) -> Settlement:
    """Give the end of a stream that took so long."""
    return Settlement(
        ending="answered",
        prompt_tokens=10,
        completion_tokens=tokens,
        health="alive",
        first_s=first_s,
        total_s=total_s,
    )


async def go(gate: Gate, request_id: str, end: Settlement = DONE, **changes: object) -> str:
    """Make a call and end it; tells where it went."""
    event = await gate.take(request_id, **changes)
    await gate.end(event, end)
    return name(event)


async def test_weights_are_met(redis_url: str, client: Client, tmp_path: Path) -> None:
    settings = chosen_by(
        tmp_path, "weighted", listed("a", weight=5), listed("b", weight=2), listed("c", weight=1)
    )
    async with Gates(redis_url, client, settings, 2) as gates:
        got = Counter([await go(gates.gates[n % 2], f"r{n}") for n in range(160)])
    assert abs(got["a"] - 100) <= 3
    assert abs(got["b"] - 40) <= 3
    assert abs(got["c"] - 20) <= 3


async def test_the_weight_of_one_that_is_full_goes_to_the_others(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    full = listed("a", weight=100, limits={"concurrency": 1})
    settings = chosen_by(tmp_path, "weighted", full, listed("b"), listed("c"))
    async with Gates(redis_url, client, settings) as gates:
        got = Counter([name(await gates.first.take(f"r{n}")) for n in range(21)])
    assert got == {"a": 1, "b": 10, "c": 10}


async def test_round_robin_goes_round_whatever_is_busy(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = chosen_by(tmp_path, "round_robin", *map(listed, "abc"))
    async with Gates(redis_url, client, settings, 2) as gates:
        held = [name(await gates.gates[n % 2].take(f"r{n}")) for n in range(7)]
    assert held == list("abcabca")


async def test_the_cheapest_that_is_free_is_taken(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    cheap = listed("cheap", price={"prompt": 1, "completion": 2}, limits={"concurrency": 1})
    dear = listed("dear", price={"prompt": 1, "completion": 9})
    unpriced = {"provider": "q", "model": "unheard-of"}
    models = {"m": {"strategy": "cost", "deployments": [dear, unpriced, cheap]}}
    settings = configured(
        tmp_path,
        providers={"p": provider(), "q": provider(kind="compatible")},
        models=models,
    )
    async with Gates(redis_url, client, settings) as gates:
        got = [name(await gates.first.take(f"r{n}")) for n in range(3)]
    assert got == ["cheap", "dear", "dear"]


async def test_what_has_something_in_common_stays_together(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = chosen_by(tmp_path, "round_robin", *map(listed, "abcd"))
    async with Gates(redis_url, client, settings) as gates:
        homes = {
            sticky: {await go(gates.first, f"{sticky}-{n}", sticky=sticky) for n in range(5)}
            for sticky in (f"{number:08x}" for number in range(40))
        }
    assert all(len(home) == 1 for home in homes.values())
    spread = Counter(next(iter(home)) for home in homes.values())
    assert min(spread[one] for one in "abcd") >= 3


async def test_only_those_move_whose_home_is_full(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = chosen_by(
        tmp_path, "round_robin", *(listed(one, limits={"concurrency": 1}) for one in "abc")
    )
    async with Gates(redis_url, client, settings) as gates:
        first = await gates.first.take("r0", sticky="0badcafe")
        second = await gates.first.take("r1", sticky="0badcafe")
        assert name(first) != name(second)
        await gates.first.end(first)
        await gates.first.end(second)
        assert await go(gates.first, "r2", sticky="0badcafe") == name(first)


async def test_all_are_tried_before_one_is_preferred(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = chosen_by(tmp_path, "latency", *map(listed, "abc"))
    async with Gates(redis_url, client, settings) as gates:
        first = {name(await gates.first.take(f"r{n}")) for n in range(3)}
    assert first == set("abc")


async def test_the_fastest_gets_nearly_all(redis_url: str, client: Client, tmp_path: Path) -> None:
    settings = chosen_by(tmp_path, "latency", *map(listed, "abc"))
    speeds = {"a": took(0.5, 1.5), "b": took(0.1, 1.1), "c": took(0.5, 2.5)}
    async with Gates(redis_url, client, settings) as gates:
        got = Counter[str]()
        for n in range(200):
            event = await gates.first.take(f"r{n}")
            advance(client, 0.2)
            await gates.first.end(event, speeds[name(event)])
            got[name(event)] += 1
    assert got["b"] >= 185
    assert got["a"] >= 2
    assert got["c"] >= 2


async def test_one_that_turns_slow_loses_its_traffic_before_its_first_slow_answer_is_there(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = chosen_by(tmp_path, "latency", *map(listed, "ab"))
    speeds = {"a": took(0.1, 0.2), "b": took(0.15, 0.3)}
    async with Gates(redis_url, client, settings) as gates:
        for n in range(40):
            event = await gates.first.take(f"warm{n}")
            advance(client, 0.1)
            await gates.first.end(event, speeds[name(event)])
        got = []
        for n in range(60):
            event = await gates.first.take(f"r{n}")
            got.append(name(event))
            advance(client, 0.1)
            if name(event) == "b":
                await gates.first.end(event, speeds["b"])
    assert got[0] == "a"
    assert got[20:].count("b") >= 38


async def test_one_that_has_recovered_is_found_again(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = chosen_by(tmp_path, "latency", *map(listed, "ab"))
    async with Gates(redis_url, client, settings) as gates:
        for n in range(40):
            event = await gates.first.take(f"slow{n}")
            advance(client, 0.2)
            await gates.first.end(event, took(3, 3) if name(event) == "a" else took(0.3, 0.5))
        got = []
        for n in range(300):
            event = await gates.first.take(f"r{n}")
            got.append(name(event))
            advance(client, 0.1)
            await gates.first.end(event, took(0.1, 0.2) if name(event) == "a" else took(0.3, 0.5))
    assert got[:10].count("b") >= 9
    assert got[200:].count("a") >= 90


async def test_the_decision_is_told(redis_url: str, client: Client, tmp_path: Path) -> None:
    settings = chosen_by(
        tmp_path,
        "weighted",
        deployment("full", concurrency=1),
        listed("a", weight=3),
        listed("b"),
    )
    async with Gates(redis_url, client, settings) as gates:
        verdicts = [await gates.first.admission.admit(gates.first.ask(f"r{n}")) for n in range(9)]
    told = verdicts[-1]
    assert isinstance(told, Granted)
    assert told.chosen_by == "weighted"
    assert told.scores == "p/a 3, p/b 1"
    assert told.passed_over == "p/full: concurrency"


async def test_a_decision_among_one_tells_nothing(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = chosen_by(tmp_path, "latency", listed("a"))
    async with Gates(redis_url, client, settings) as gates:
        verdict = await gates.first.admission.admit(gates.first.ask("r"))
    assert not isinstance(verdict, Granted)


async def test_who_waited_is_told_the_decision_too(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    slow = [deployment(one, rpm=60) for one in "ab"]
    settings = chosen_by(tmp_path, "round_robin", *slow)
    async with Gates(redis_url, client, settings) as gates:
        await gates.first.take("r0")
        await gates.first.take("r1")
        await gates.first.wait("r2")
        await gates.first.later(2)
        verdict = await gates.first.admission.admit(gates.first.ask("r2"))
    assert isinstance(verdict, Granted)
    assert verdict.chosen_by == "round_robin"
