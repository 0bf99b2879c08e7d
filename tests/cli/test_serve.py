"""`sluice workers`, `sluice gateway` and `sluice simulate` by themselves, on a Redis of another."""

import json
import os
import signal

import httpx
import pytest
import redis

from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.names import Names
from tests.cli.command import SLUICE, House, error_of
from tests.processes import Nursery, Spawned, runs
from tests.waiting import eventually

pytestmark = pytest.mark.journey


def workers_of(house: House, url: str) -> dict[str, int]:
    """Give the living workers and their pids."""
    told = json.loads(house.run("status", "--json", "--redis-url", url).stdout)
    return {worker["name"]: worker["pid"] for worker in told["workers"]}


def start(house: House, nursery: Nursery, *arguments: str) -> Spawned:
    started = house.start(nursery, *arguments)
    started.await_output("ready: ", 40)
    return started


def test_the_parts_serve_together_and_end_cleanly(
    house: House, nursery: Nursery, redis_url: str
) -> None:
    simulated = house.start(nursery, "simulate", "--set", "tokens=3")
    simulated.await_output("simulated provider on")
    workers = start(house, nursery, "workers", "--redis-url", redis_url)
    gateway = start(house, nursery, "gateway", "--redis-url", redis_url, "--processes", "2")
    done = house.run("send", "Hello", "--redis-url", redis_url)
    assert done.returncode == 0, done.stderr
    for part in (gateway, workers, simulated):
        part.process.send_signal(signal.SIGTERM)
        assert part.wait() == 0
        assert "Traceback" not in part.output


def test_the_simulated_provider_lists_its_options(house: House) -> None:
    done = house.run("simulate", "--options")
    assert done.returncode == 0
    assert "ttft_ms" in done.stdout


def test_a_wrong_option_of_the_simulated_provider_is_misuse(house: House) -> None:
    done = house.run("simulate", "--set", "nonsense=1")
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def test_a_gateway_refuses_a_taken_port(house: House, nursery: Nursery, redis_url: str) -> None:
    start(house, nursery, "workers", "--redis-url", redis_url)
    start(house, nursery, "gateway", "--redis-url", redis_url)
    line = error_of(house.run("gateway", "--redis-url", redis_url))
    assert f"port {house.gateway_port} on 127.0.0.1" in line


@pytest.mark.crash
def test_workers_are_supervised_one_by_one(house: House, nursery: Nursery, redis_url: str) -> None:
    command = start(house, nursery, "workers", "--redis-url", redis_url, "--processes", "2")
    before = workers_of(house, redis_url)
    assert len(before) == 2
    victim = min(before.values())
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: "starting it again" in command.output, 10)

    def renewed() -> bool:
        alive = workers_of(house, redis_url)
        return len(alive) == 2 and victim not in alive.values()

    eventually(renewed, 30)
    assert set(before.values()) & set(workers_of(house, redis_url).values())


@pytest.mark.slow
def test_sigusr2_restarts_the_workers_one_after_another(
    house: House, nursery: Nursery, redis_url: str
) -> None:
    command = start(house, nursery, "workers", "--redis-url", redis_url, "--processes", "2")
    before = workers_of(house, redis_url)
    command.process.send_signal(signal.SIGUSR2)

    def all_new() -> bool:
        alive = workers_of(house, redis_url)
        assert alive
        return len(alive) == 2 and not set(alive) & set(before)

    eventually(all_new, 40)
    command.process.send_signal(signal.SIGTERM)
    assert command.wait() == 0


@pytest.mark.crash
def test_workers_end_when_their_command_is_killed(
    house: House, nursery: Nursery, redis_url: str
) -> None:
    command = start(house, nursery, "workers", "--redis-url", redis_url)
    pids = list(workers_of(house, redis_url).values())
    command.process.kill()
    command.wait()
    eventually(lambda: not any(map(runs, pids)), 20)


def test_workers_go_on_when_redis_was_away(
    house: House, nursery: Nursery, own_redis: EmbeddedRedis
) -> None:
    command = start(house, nursery, "workers", "--redis-url", own_redis.url)
    own_redis.restart()
    names = Names("sluice")
    with redis.Redis.from_url(own_redis.url, protocol=2) as client:
        event = json.dumps({"model": "nope", "prompt": "Hello"})
        client.xadd(names.requests["default"], {"event": event})
        eventually(lambda: client.xlen(names.dead), 20)
    assert command.process.poll() is None


def test_a_namespace_keeps_houses_apart(house: House, nursery: Nursery, redis_url: str) -> None:
    start(house, nursery, "workers", "--redis-url", redis_url, "--namespace", "other")
    assert workers_of(house, redis_url) == {}
    told = house.run("status", "--json", "--redis-url", redis_url, "--namespace", "other")
    assert len(json.loads(told.stdout)["workers"]) == 1


def test_environment_reaches_the_children(nursery: Nursery, house: House, redis_url: str) -> None:
    environment = {"SLUICE_REDIS_URL": redis_url, "SLUICE_NAMESPACE": "mine"}
    there = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(house.folder)]
    gateway = nursery.spawn([*there, *SLUICE, "gateway"], environment, "gateway")
    gateway.await_output("Gateway listens on")
    eventually(lambda: httpx.get(f"{house.url}/health").status_code == 200)
    with redis.Redis.from_url(redis_url) as client:
        assert client.zcard(Names("mine").gateways) == 1
