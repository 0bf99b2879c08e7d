"""Which candidate is taken: in order, or the least busy of those of equal rank."""

from pathlib import Path

import msgspec
import pytest

from pipeline.event import Event
from pipeline.settings.load import Settings
from tests.limits.rooms import AGAIN, Gates, configured, deployment, woken
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio


def modelled(directory: Path, *deployments: object, strategy: str = "order") -> Settings:
    """Configure a model of these deployments."""
    return configured(
        directory, models={"m": {"strategy": strategy, "deployments": list(deployments)}}
    )


def names(events: list[Event]) -> list[str]:
    """Name the deployments of leased events."""
    return [event.lease.deployment if event.lease else "" for event in events]


async def test_the_first_candidate_with_capacity_is_taken(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = modelled(
        tmp_path, deployment("a", concurrency=1), deployment("b", concurrency=2), deployment("c")
    )
    async with Gates(redis_url, client, settings) as gates:
        got = [await gates.first.take(name) for name in "uvwxy"]
        assert names(got) == ["p/a", "p/b", "p/b", "p/c", "p/c"]
        await gates.first.end(got[0])
        assert names([await gates.first.take("z")]) == ["p/a"]


async def test_the_least_busy_of_equals_is_taken(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = modelled(
        tmp_path,
        deployment("a", concurrency=2),
        deployment("b", concurrency=4),
        strategy="least_busy",
    )
    async with Gates(redis_url, client, settings) as gates:
        got = names(await gates.first.rush(*"abcdefgh"))
        assert [got[:3].count(name) for name in ("p/a", "p/b")] == [1, 2], "by the part in use"
        assert [got.count(name) for name in ("p/a", "p/b")] == [2, 4]


async def test_equals_without_a_limit_are_compared_by_their_calls(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = modelled(tmp_path, deployment("a"), deployment("b"), strategy="least_busy")
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        got = [await gate.take(name) for name in "abcd"]
        assert sorted(names(got)) == ["p/a", "p/a", "p/b", "p/b"]
        for event in got:
            if names([event]) == ["p/b"]:
                await gate.end(event)
        assert names([await gate.take("e"), await gate.take("f")]) == ["p/b", "p/b"]


async def test_a_fallback_is_taken_when_no_equal_of_the_model_has_capacity(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    models = {
        "m": {
            "strategy": "least_busy",
            "deployments": [deployment("a", concurrency=1), deployment("b", concurrency=1)],
            "fallbacks": ["spare"],
        },
        "spare": {"deployments": [deployment("c", concurrency=1)]},
    }
    async with Gates(redis_url, client, configured(tmp_path, models=models)) as gates:
        got = [await gates.first.take(name) for name in "xyz"]
        assert sorted(names(got[:2])) == ["p/a", "p/b"]
        assert names(got[2:]) == ["p/c"]


async def test_who_failed_at_a_candidate_is_not_sent_there_again(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = modelled(tmp_path, deployment("a"), deployment("b", concurrency=1))
    async with Gates(redis_url, client, settings) as gates:
        gate = gates.first
        first = await gate.take("a")
        await gate.end(first, AGAIN)
        again = msgspec.structs.replace(first, lease=None, tried=("p/a",))
        second = await gate.take(again)
        assert names([second]) == ["p/b"]
        await gate.wait("b", tried=("p/a",))
        await gate.end(second)
        assert woken(client) == ["b"]


async def test_rooms_that_share_a_deployment_are_both_served_by_it(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    shared = deployment("a", concurrency=1)
    models = {
        "m": {"deployments": [shared]},
        "n": {"deployments": [shared, deployment("b", concurrency=1)]},
    }
    async with Gates(redis_url, client, configured(tmp_path, models=models)) as gates:
        gate = gates.first
        on_a = await gate.take("on a", model="n")
        on_b = await gate.take("on b", model="n")
        await gate.wait("of m")
        await gate.wait("of n", model="n")
        await gate.end(on_b)
        assert woken(client) == ["of n"]
        await gate.end(on_a)
        assert woken(client) == ["of n", "of m"]
        got = [await gate.take("of m"), await gate.take("of n", model="n")]
        assert names(got) == ["p/a", "p/b"]
