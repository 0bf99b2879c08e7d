"""`limits`, `keys`, `reload` and the limits in `status`, on a Redis in which requests stand."""

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from pipeline.limits.tickets import Settlement
from tests.cli.command import error_of, sluice
from tests.limits.rooms import DONE, Gate, Gates, configured, provider
from tests.streams import rig
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio

#: What `provider` takes; their public names are p: and their hashes.
KEYS: Final = ("sk-first-aaaaaaaaaaaaaaaa-1111", "sk-second-bbbbbbbbbbbbbbb-2222")

_HASH: Final = f"sha256:3fa9c1d2{'0' * 56}"
TENANTS: Final = {
    "acme": {
        "tokens": [_HASH],
        "models": ["m"],
        "limits": {"rpm": 2, "concurrency": 10},
        "users": {"default": {"rpd": 7}, "bob": {"rpd": 9}},
        "token_limits": {"3fa9c1d2": {"tpd": 100000}},
    },
    "beta": {},
}


class Desk:
    """A folder whose configuration holds, and the command in it."""

    def __init__(self, folder: Path, redis_url: str, gate: Gate) -> None:
        self.folder = folder
        self.gate = gate
        self._where = ("--redis-url", redis_url, "--namespace", NAMES.prefix)

    def run(self, *arguments: str, columns: int = 100) -> subprocess.CompletedProcess[str]:
        """Run a command on the shared Redis."""
        return sluice(self.folder, *arguments, *self._where, env={"COLUMNS": str(columns)})

    def told(self, *arguments: str) -> Any:
        """Give what a command tells as JSON."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def rewrite(self, **sections: object) -> None:
        """Write another configuration."""
        configured(self.folder, **sections)


@asynccontextmanager
async def desk(url: str, client: Client, folder: Path, **sections: object) -> AsyncIterator[Desk]:
    """Publish a configuration, and admit under it."""
    async with Gates(url, client, configured(folder, **sections)) as gates:
        yield Desk(folder, url, gates.first)


@pytest.fixture
def client(redis_url: str) -> Any:
    """Look at the shared Redis."""
    with rig.connect(redis_url) as made:
        yield made


async def test_a_request_that_would_go_at_once_is_exit_code_0(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with desk(redis_url, client, tmp_path, providers={"p": provider(*KEYS)}) as here:
        done = here.run("limits", "--model", "m")
        assert done.returncode == 0
        assert "would go at once to p/a by key p:" in done.stdout
        assert here.told("limits", "-m", "m")["verdict"] == "go"
        assert not client.exists(f"{NAMES.limits}:tickets")


async def test_a_request_that_would_wait_is_exit_code_3_and_says_for_what(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with desk(redis_url, client, tmp_path, tenants=TENANTS) as here:
        for number in "12":
            await here.gate.end(await here.gate.take(number, tenant="acme", user="bob"), DONE)
        asked = ("limits", "--model", "m", "--tenant", "acme", "--user", "bob", "--tokens", "10")
        done = here.run(*asked)
        assert done.returncode == 3
        assert "for the tenant acme, which may have 2 requests a minute" in done.stdout
        told = here.told(*asked, "--token", "3fa9c1d2")
        assert told["verdict"] == "wait"
        rows = {(one["scope"], one["dimension"]): one for one in told["limits"]}
        assert rows["tenant", "rpm"]["used"] == 2
        # Of its minute, what two commands have left.
        assert 0 < rows["tenant", "rpm"]["wait_s"] <= 60.1
        assert rows["user", "rpd"]["remaining"] == 7
        assert rows["token", "tpd"]["limit"] == 100000


async def test_a_request_that_would_be_refused_is_exit_code_4_and_says_why(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with desk(redis_url, client, tmp_path, limits={"tpm": 50}, tenants=TENANTS) as here:
        asked = ("limits", "--model", "m", "--tenant", "beta", "--tokens", "90")
        done = here.run(*asked)
        assert done.returncode == 4
        assert "would be refused: The request needs some 90 tokens" in done.stdout
        assert here.told(*asked)["candidates"][0]["why"] == "never: it admits fewer tokens"


async def test_a_model_that_the_tenant_may_not_use_is_refused(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    models = {name: {"deployments": [{"provider": "p", "model": "a"}]} for name in ("m", "n")}
    async with desk(redis_url, client, tmp_path, models=models, tenants=TENANTS) as here:
        done = here.run("limits", "--model", "n", "--tenant", "acme")
        assert done.returncode == 4
        assert "acme may not use the model `n`" in done.stdout


async def test_a_file_is_tried_on_the_live_counters(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with desk(redis_url, client, tmp_path, limits={"concurrency": 2}) as here:
        await here.gate.take("a")
        assert here.run("limits", "--model", "m").returncode == 0
        here.rewrite(limits={"concurrency": 1})
        done = here.run("limits", "--model", "m", "--config", "sluice.yaml")
        assert done.returncode == 3
        assert "by the limits of sluice.yaml, not published" in done.stdout
        assert here.run("limits", "--model", "m").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "nope", "--tenant", "beta"), "`nope` does not exist"),
        (("--model", "m"), "Say --tenant; configured: acme, beta"),
        (("--model", "m", "--tenant", "gamma"), "no tenant is named gamma; configured: acme, beta"),
        (("--model", "m", "--tenant", "acme", "--token", "0"), "no token 0; ids: 3fa9c1d2"),
    ],
)
async def test_what_is_not_configured_is_one_line(
    redis_url: str, client: Client, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    async with desk(redis_url, client, tmp_path, tenants=TENANTS) as here:
        assert words in error_of(here.run("limits", *arguments))


async def test_keys_tell_their_state_and_are_revived(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with desk(redis_url, client, tmp_path, providers={"p": provider(*KEYS)}) as here:
        dead = await here.gate.take("a")
        await here.gate.end(dead, Settlement(ending="failed", dead="credentials"))
        resting = await here.gate.take("b")
        await here.gate.end(resting, Settlement(ending="failed", rest_s=30))
        assert dead.lease
        assert resting.lease
        keys = {key["name"]: key for key in here.told("keys")}
        assert keys[dead.lease.key]["state"] == "dead"
        assert keys[dead.lease.key]["why"] == "credentials"
        assert 590 < keys[dead.lease.key]["probe_s"] <= 600
        assert keys[resting.lease.key]["state"] == "resting"
        assert keys[resting.lease.key]["resting_until"] > keys[dead.lease.key]["dead_since"]
        seen = here.run("keys").stdout
        for words in ("dead for", "(credentials)", "resting for", "sk-…1111", "sk-…2222"):
            assert words in seen
        assert not any(key in seen for key in KEYS)
        assert f"no key is named p:0; there are {', '.join(keys)}" in error_of(
            here.run("keys", "revive", "p:0")
        )
        done = here.told("keys", "revive", dead.lease.key, resting.lease.key)
        assert done == {"revived": [dead.lease.key], "alive": [resting.lease.key]}
        assert (await here.gate.take("c")).lease == dead.lease


async def test_reviving_a_key_lets_those_in_who_wait(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    providers = {"p": provider(*KEYS, limits={"concurrency": 1}, limits_per="key")}
    async with desk(redis_url, client, tmp_path, providers=providers) as here:
        dead = await here.gate.take("a")
        await here.gate.end(dead, Settlement(ending="failed", dead="credentials"))
        await here.gate.take("b")
        await here.gate.wait("c", "d")
        assert dead.lease
        assert (
            f"{dead.lease.key} is used again." in here.run("keys", "revive", dead.lease.key).stdout
        )
        assert rig.ids(client, "gate") == ["c"]


async def test_reloading_brings_new_limits_to_every_worker(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with desk(redis_url, client, tmp_path, tenants=TENANTS) as here:
        for number in "12":
            await here.gate.end(await here.gate.take(number, tenant="acme"), DONE)
        await here.gate.wait("3", tenant="acme")
        acme = {**TENANTS["acme"], "limits": {"rpm": 3, "concurrency": 10}}
        here.rewrite(tenants={**TENANTS, "acme": acme})
        done = here.run("reload")
        assert "1 limit changed" in done.stdout
        assert "tenant acme: rpm 2, concurrency 10 → rpm 3, concurrency 10" in done.stdout
        assert "restart" not in done.stdout
        assert "No part runs" in done.stdout
        assert rig.ids(client, "gate") == ["3"]
        await here.gate.take("3", tenant="acme")
        await here.gate.wait("4", tenant="acme")
        assert here.told("reload")["limits"] == []


async def test_reloading_says_what_differs_and_what_takes_a_restart(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with desk(redis_url, client, tmp_path, tenants=TENANTS) as here:
        models = {name: {"deployments": [{"provider": "p", "model": "a"}]} for name in ("m", "n")}
        here.rewrite(
            providers={"p": provider(*KEYS, limits={"rpm": 5})},
            models=models,
            tenants={"acme": {**TENANTS["acme"], "weight": 2}},
            retry={"quick": 1},
            workers={"calls": 7},
        )
        expected = {
            "added": ["models.n"],
            "removed": ["tenants.beta"],
            "changed": ["providers.p", "retry.quick", "tenants.acme"],
            "restart": ["workers.calls"],
        }
        for _ in range(2):
            assert here.told("reload", "--dry-run")["differences"] == expected
        seen = here.run("reload").stdout
        assert "  models.n is new\n" in seen
        assert "This takes a restart:\n  workers.calls\n" in seen
        assert not any(key in seen for key in KEYS)
        left = here.told("reload", "--dry-run")
        assert left["needs_restart"] == ["workers.calls"]
        assert left["differences"] == {
            "added": [], "removed": [], "changed": [], "restart": ["workers.calls"],
        }  # fmt: skip


async def test_status_tells_limits_use_and_who_waits(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    sections: dict[str, object] = {
        "limits": {"concurrency": 1},
        "tenants": {**TENANTS, "acme": {**TENANTS["acme"], "limits": {"rpm": 3}}},
        "providers": {"p": provider(*KEYS, limits={"rpm": 2, "tpm": 100000}, limits_per="key")},
    }
    async with desk(redis_url, client, tmp_path, **sections) as here:
        await here.gate.take("a", tenant="acme", user="bob")
        await here.gate.wait("b", "c", "d", "e", tenant="acme", user="eve")
        told = here.told("status")
        assert told["waiting"]["count"] == 4
        assert told["waiting"]["oldest_s"] > 0
        limits = told["limits"]
        acme = limits["tenants"][0]
        assert acme["use"]["used"]["rpm"] == 3
        assert acme["use"]["held"] == 2
        assert [part["name"] for part in acme["users"]] == ["bob", "default"]
        assert acme["users"][0]["use"]["used"]["rpd"] == 1
        (room,) = limits["rooms"]
        assert room["models"] == ["m"]
        assert room["waiting"] == {"high": 0, "default": 2, "low": 0}
        assert limits["deployments"][0]["occupancy"] == 1
        assert sum(key["models"]["a"]["used"]["rpm"] for key in limits["keys"]) == 1
        lines = here.run("status").stdout.splitlines()
        seen = "\n".join(lines)
        for words in ("waiting: 4, oldest ", "tenant acme", "each other user", "token 3fa9c1d2"):
            assert words in seen
        order = ["requests:high", "tenant acme", "waiting room", "deployment", "p:", "dead letters"]
        places = [next(n for n, line in enumerate(lines) if line.startswith(w)) for w in order]
        assert places == sorted(places)
        assert max(map(len, lines)) <= 100


async def test_status_shows_no_table_of_what_there_is_not(
    redis_url: str, client: Client, tmp_path: Path
) -> None:
    async with desk(redis_url, client, tmp_path) as here:
        seen = here.run("status").stdout
        assert "our limits" not in seen
        assert "one each" not in seen
        assert "req/day" not in seen
        assert "waiting: 0\n" in seen
