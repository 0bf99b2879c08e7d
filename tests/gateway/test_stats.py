"""`GET /stats`: everything for this machine, with tenants to each its own."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.names import Names
from pipeline.settings.secret import token_hash
from tests.gateway.conftest import House, StartHouse
from tests.limits.rooms import Gate, Gates, configured, provider
from tests.streams import rig

pytestmark = pytest.mark.anyio

_KEY: Final = "sk-first-aaaaaaaaaaaaaaaa-1111"
_TOKENS: Final = {"acme": "sk-sluice-of-acme", "beta": "sk-sluice-of-beta"}
_MODEL: Final = {"deployments": [{"provider": "p", "model": "a", "limits": {"concurrency": 1}}]}
_NAMESPACE: Final = {"redis": {"namespace": rig.NAMES.prefix}}

TENANTS: Final = {
    "acme": {
        "tokens": [token_hash(_TOKENS["acme"]).reveal()],
        "models": ["m"],
        "limits": {"rpm": 9},
        "users": {"bob": {"rpd": 5}},
    },
    "beta": {"tokens": [token_hash(_TOKENS["beta"]).reveal()], "models": ["n"]},
}


@asynccontextmanager
async def opened(
    start_house: StartHouse, url: str, folder: Path, **sections: object
) -> AsyncIterator[tuple[House, Gate]]:
    """Start a gateway, and admit under its configuration."""
    settings = configured(folder, **_NAMESPACE, **sections)
    with rig.connect(url) as client:
        async with Gates(url, client, settings) as gates:
            text = (folder / "sluice.yaml").read_text()
            yield start_house(text, standin=False), gates.first


def told(house: House, tenant: str = "", **headers: str) -> Any:
    """Ask for the stats as a tenant."""
    sent: Mapping[str, str] = {"authorization": f"Bearer {_TOKENS.get(tenant, tenant)}"}
    answer = house.ask("GET", "/stats", headers={**sent, **headers} if tenant else headers)
    assert answer.status == 200, answer
    return answer.json


async def test_this_machine_sees_everything_without_tenants(
    start_house: StartHouse, redis_url: str, tmp_path: Path
) -> None:
    sections: dict[str, object] = {
        "providers": {"p": provider(_KEY, limits={"rpm": 600})},
        "models": {"m": _MODEL},
    }
    async with opened(start_house, redis_url, tmp_path, **sections) as (house, gate):
        await gate.take("a")
        await gate.wait("b", "c")
        stats = told(house)
        assert stats["queued"] == {"high": 0, "default": 0, "low": 0}
        assert (stats["waiting"], stats["running"]) == (2, 0)
        limits = stats["limits"]
        (room,) = limits["rooms"]
        assert (room["models"], room["deployments"]) == (["m"], ["p/a"])
        assert room["waiting"]["default"] == 2
        assert room["oldest_s"] > 0
        (key,) = limits["keys"]
        assert (key["state"], key["key"]) == ("ok", "sk-…1111")
        assert limits["deployments"][0]["use"]["used"]["concurrency"] == 1
        assert limits["accounts"][0]["use"]["limits"] == {"rpm": 600}
        assert _KEY not in json.dumps(stats)


async def test_whom_a_proxy_brings_sees_the_numbers_alone(
    start_house: StartHouse, redis_url: str, tmp_path: Path
) -> None:
    sections: dict[str, object] = {"providers": {"p": provider(_KEY)}, "models": {"m": _MODEL}}
    async with opened(start_house, redis_url, tmp_path, **sections) as (house, gate):
        await gate.take("a")
        await gate.wait("b")
        for header in ({"x-forwarded-for": "192.0.2.1"}, {"forwarded": "for=192.0.2.1"}):
            limits = told(house, **header)["limits"]
            assert limits["keys"] == limits["deployments"] == limits["accounts"] == []
            assert limits["rooms"][0]["waiting"]["default"] == 1
            assert limits["rooms"][0]["deployments"] == []


async def test_a_tenant_sees_its_own_limits_and_the_rooms_of_its_models(
    start_house: StartHouse, redis_url: str, tmp_path: Path
) -> None:
    models = {"m": _MODEL, "n": {"deployments": [{"provider": "p", "model": "b"}]}}
    sections: dict[str, object] = {
        "providers": {"p": provider(_KEY)}, "models": models, "tenants": TENANTS,
    }  # fmt: skip
    async with opened(start_house, redis_url, tmp_path, **sections) as (house, gate):
        await gate.take("a", tenant="acme", user="bob")
        await gate.wait("b", tenant="acme")
        assert house.ask("GET", "/stats").status == 401
        stats = told(house, "acme")
        (acme,) = stats["limits"]["tenants"]
        assert (acme["name"], acme["use"]["used"]["rpm"]) == ("acme", 2)
        assert [user["name"] for user in acme["users"]] == ["bob"]
        (room,) = stats["limits"]["rooms"]
        assert (room["models"], room["deployments"]) == (["m"], [])
        assert stats["limits"]["keys"] == stats["limits"]["deployments"] == []
        beta = told(house, "beta")["limits"]
        assert [tenant["name"] for tenant in beta["tenants"]] == ["beta"]
        assert beta["rooms"] == []
        assert "acme" not in json.dumps(beta)


async def test_queued_and_running_are_counted(
    start_house: StartHouse, redis_url: str, tmp_path: Path
) -> None:
    async with opened(start_house, redis_url, tmp_path) as (house, gate):
        names, link = Names(rig.NAMES.prefix), gate.client
        link.xgroup_create(names.requests["high"], "route", "0", mkstream=True)
        link.xgroup_create(names.hop("call"), "call", "0", mkstream=True)
        for stream in (names.requests["high"], names.requests["low"], names.hop("call")):
            for _ in range(2):
                link.xadd(stream, {"event": "{}"})
        link.xreadgroup("call", "me", {names.hop("call"): ">"}, count=1)
        stats = told(house)
        assert stats["queued"] == {"high": 2, "default": 0, "low": 2}
        assert stats["running"] == 1


async def test_the_ladder_and_the_dead_are_counted(
    start_house: StartHouse, redis_url: str, tmp_path: Path
) -> None:
    async with opened(start_house, redis_url, tmp_path, ladder=[60, 600]) as (house, gate):
        names, link = Names(rig.NAMES.prefix), gate.client
        seconds, _ = link.time()
        for _ in range(2):
            link.xadd(names.rung(600), {"event": "{}", "due": seconds * 1000 + 300_000})
        link.xadd(names.dead, {"event": "{}"})
        link.hset(names.counters, "refused", 3)
        stats = told(house)
        (rung,) = stats["ladder"]
        assert (rung["rung"], rung["count"]) == (600, 2)
        assert 295 < rung["next_due_s"] <= 300
        assert 300 <= rung["oldest_s"] < 305
        assert (stats["dead_letters"], stats["counters"]) == (1, {"refused": 3})


async def test_stats_while_redis_is_away_are_a_503(
    start_house: StartHouse, own_redis: EmbeddedRedis
) -> None:
    house = start_house(pace='{"health_s":0.5}', url=own_redis.url, standin=False)
    assert house.ask("GET", "/stats").status == 200
    own_redis.kill()
    answer = house.ask("GET", "/stats")
    assert (answer.status, answer.error["code"]) == (503, "redis_unavailable")


async def test_the_route_is_listed(start_house: StartHouse) -> None:
    house = start_house(standin=False)
    assert "GET /stats" in str(house.ask("GET", "/").json["routes"])
