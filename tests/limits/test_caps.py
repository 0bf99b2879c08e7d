"""Limits by their names, and what happens when a configuration changes them."""

from pathlib import Path

import pytest

from pipeline.catalog import Catalog
from pipeline.limits.caps import Cap, caps_of, published
from tests.limits.rooms import (
    Gates,
    calls,
    configured,
    deployment,
    provider,
    to_midnight,
    use,
    woken,
)
from tests.streams.rig import Client

pytestmark = pytest.mark.anyio


def test_limits_are_named_by_what_they_hold_for(tmp_path: Path) -> None:
    settings = configured(
        tmp_path,
        limits={"rpm": 5, "burst": 2},
        providers={"p": provider(limits={"tpm": 7})},
        tenants={
            "t": {
                "tokens": ["sha256:" + "0" * 64],
                "limits": {"rpd": 3},
                "users": {"default": {"concurrency": 1}, "bob": {"concurrency": 2}},
            }
        },
    )
    caps = caps_of(settings, Catalog(settings))
    assert caps["d:p/a"] == Cap(rpm=5, burst=2)
    assert caps["p:p"] == Cap(tpm=7)
    assert caps["t:t"] == Cap(rpd=3)
    assert caps["u:t"] == Cap(concurrency=1)
    assert caps["u:t:bob"] == Cap(concurrency=2)


def test_what_is_not_limited_is_not_published(tmp_path: Path) -> None:
    settings = configured(tmp_path)
    assert set(published(settings, Catalog(settings))) == {"gate"}


def test_a_reserved_share_leaves_the_others_a_limit_of_their_own(tmp_path: Path) -> None:
    settings = configured(
        tmp_path,
        gate={"reserve": {"high": 0.3}},
        limits={"rpm": 10, "concurrency": 1, "burst": 10},
    )
    caps = caps_of(settings, Catalog(settings))
    assert caps["d:p/a"] == Cap(rpm=10, concurrency=1, burst=10)
    assert caps["d:p/a!1"] == Cap(rpm=7, concurrency=1, burst=7)
    assert "d:p/a!2" not in caps


async def test_publishing_twice_changes_nothing(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    settings = configured(tmp_path, limits={"rpm": 5})
    async with Gates(redis_url, client, settings) as gates:
        assert await gates.first.admission.publish() == 0


async def test_a_lowered_limit_holds_at_once_and_counts_the_calls_under_way(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    before = configured(tmp_path, limits={"concurrency": 3})
    after = configured(tmp_path, limits={"concurrency": 2})
    async with Gates(redis_url, client, before) as old, Gates(redis_url, client, after) as new:
        held = []
        await old.first.admission.publish()
        held = [await old.first.take(name) for name in "abc"]
        assert await new.first.admission.publish() == 1
        await old.first.wait("d")
        await new.first.wait("e")
        await old.first.end(held[0])
        assert woken(client) == []
        await old.first.end(held[1])
        assert woken(client) == ["d"]


async def test_a_raised_limit_lets_in_who_waits(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    before = configured(tmp_path, limits={"concurrency": 1})
    after = configured(tmp_path, limits={"concurrency": 3})
    async with Gates(redis_url, client, before) as old:
        await old.first.take("a")
        await old.first.wait("b", "c", "d")
        async with Gates(redis_url, client, after) as new:
            await new.first.admission.sweep()
        assert woken(client) == ["b", "c"]
        assert calls(client, "d:p/a") == 3


async def test_a_changed_limit_of_a_day_keeps_what_the_day_counted(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    to_midnight(client, 43_200)
    before = configured(tmp_path, limits={"rpd": 5})
    after = configured(tmp_path, limits={"rpd": 3})
    async with Gates(redis_url, client, before) as old:
        for name in "ab":
            await old.first.end(await old.first.take(name))
        async with Gates(redis_url, client, after) as new:
            await new.first.take("c")
            await new.first.wait("d")
            await old.first.wait("e")
        assert use(client, "d:p/a")[4] == 3


async def test_a_limit_that_is_new_counts_the_calls_before_it(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with Gates(redis_url, client, configured(tmp_path)) as old:
        held = [await old.first.take(name) for name in "abc"]
        limited = configured(tmp_path, limits={"concurrency": 2})
        async with Gates(redis_url, client, limited) as new:
            await new.first.wait("d")
            await old.first.end(held[0])
            await new.first.end(held[1])
            assert woken(client) == ["d"]


async def test_a_limit_that_is_gone_holds_nobody(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    limited = configured(tmp_path, limits={"rpm": 1, "concurrency": 1, "tpm": 600})
    async with Gates(redis_url, client, limited) as old:
        await old.first.take("a")
        await old.first.wait("b")
        async with Gates(redis_url, client, configured(tmp_path)) as new:
            await new.first.admission.sweep()
            assert woken(client) == ["b"]
            assert len(await new.first.rush(*"cdefg")) == 5


async def test_a_deployment_that_was_added_serves_who_comes_from_now_on(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    one = configured(tmp_path, models={"m": {"deployments": [deployment("a", concurrency=1)]}})
    both = [deployment("a", concurrency=1), deployment("b", concurrency=1)]
    two = configured(tmp_path, models={"m": {"deployments": both}})
    async with Gates(redis_url, client, one) as old:
        held = await old.first.take("a")
        await old.first.wait("b")
        async with Gates(redis_url, client, two) as new:
            got = await new.first.take("c")
            assert got.lease
            assert got.lease.deployment == "p/b"
            await new.first.end(held)
            assert woken(client) == ["b"]
