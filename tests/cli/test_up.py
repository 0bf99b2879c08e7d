"""`sluice up` from end to end: a newcomer's first minutes, and what may go wrong in them."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from pipeline.embedded.redis_server import EmbeddedRedis
from tests.cli.command import SLUICE, House, error_of
from tests.processes import Nursery, Spawned, runs
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_READY_S = 60.0
_END_S = 20.0


def start(house: House, nursery: Nursery, *arguments: str) -> Spawned:
    up = house.start(nursery, "up", *arguments)
    up.await_output("Sluice is ready", _READY_S)
    return up


def parts(up: Spawned) -> dict[str, int]:
    """Read the pids of the start-up table."""
    rows = re.findall(
        r"^(redis|simulated|worker\S*|gateway\S*) +\S+ +(\d+)\s*$", up.output, re.MULTILINE
    )
    return {name: int(pid) for name, pid in rows}


def family(up: Spawned) -> list[int]:
    """List all processes that descend from the command."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    parent = {int(a): int(b) for a, b in (line.split() for line in listed.splitlines())}
    return [pid for pid in parent if up.pid in _ancestors(pid, parent)]


def _ancestors(pid: int, parent: dict[int, int]) -> Iterator[int]:
    while pid := parent.get(pid, 0):
        yield pid


def ask(house: House, model: str = "fast") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    return httpx.post(f"{house.url}/v1/chat/completions", json=body, timeout=30)


def test_a_newcomer_gets_an_answer_and_ends_it_with_one_ctrl_c(
    house: House, nursery: Nursery
) -> None:
    up = start(house, nursery)
    assert set(parts(up)) == {"redis", "simulated", "worker", "gateway"}
    assert "Nobody is billed" in up.output
    (command,) = re.findall(r"^ +(curl .*)$", up.output, re.MULTILINE)
    answer = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("data: [DONE]\n\n")
    everyone = family(up)
    up.process.send_signal(signal.SIGINT)
    assert up.wait(_END_S) == 0
    assert not [pid for pid in everyone if runs(pid)]
    assert "Traceback" not in up.output
    assert not (house.folder / ".sluice" / "up.json").exists()


def test_sigterm_ends_it_as_well_and_requests_under_way_are_answered(
    house: House, nursery: Nursery
) -> None:
    up = start(house, nursery)
    body = {"model": "simulated/sim:ttft_ms=1500", "message": "Hello"}
    accepted = httpx.post(f"{house.url}/chat/async", json=body)
    assert accepted.status_code == 202
    request_id = accepted.json()["task_id"]
    eventually(lambda: json.loads(house.run("show", request_id, "--json").stdout).get("started"))
    up.process.send_signal(signal.SIGTERM)
    assert up.wait(_END_S) == 0
    with EmbeddedRedis(house.folder / ".sluice") as server:
        shown = house.run("show", request_id, "--json", "--redis-url", server.url)
    assert json.loads(shown.stdout)["status"] == "completed"


def test_a_second_up_in_the_folder_says_who_has_it(running: House) -> None:
    line = error_of(running.run("up"))
    assert ".sluice is in use by pid" in line


@pytest.mark.parametrize("whose", ["gateway", "simulated"])
def test_a_taken_port_is_named_before_anything_starts(house: House, whose: str) -> None:
    port = house.gateway_port if whose == "gateway" else house.simulate_port
    with socket.create_server(("127.0.0.1", port)):
        line = error_of(house.run("up"))
    assert f"port {port} on 127.0.0.1" in line
    assert whose in line
    assert not (house.folder / ".sluice" / "redis.log").exists()


@pytest.mark.crash
@pytest.mark.parametrize("name", ["gateway", "worker", "simulated", "redis"])
def test_a_killed_part_is_reported_and_started_again(running: House, name: str) -> None:
    pid = parts(running.up)[name]
    os.kill(pid, signal.SIGKILL)
    told = "redis ended" if name == "redis" else f"{name} (pid {pid}) was killed by SIGKILL"
    eventually(lambda: told in running.up.output, 10, told)
    eventually(lambda: answers(running), 30, "an answer")


def answers(house: House) -> bool:
    try:
        return ask(house).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.crash
def test_everything_ends_when_up_itself_is_killed(house: House, nursery: Nursery) -> None:
    up = start(house, nursery)
    everyone = family(up)
    assert len(everyone) > 4
    up.process.kill()
    up.wait()
    eventually(lambda: not [pid for pid in everyone if runs(pid)], 30, "everyone's end")
    again = start(house, nursery)
    again.process.send_signal(signal.SIGINT)
    assert again.wait(_END_S) == 0


def test_a_part_that_cannot_run_stops_up_with_its_last_words(
    house: House, nursery: Nursery, tmp_path: Path
) -> None:
    # A module that stands in for Dramatiq: the worker's start fails as a broken install would.
    broken = tmp_path / "broken" / "dramatiq"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise SystemExit('the install is broken')")
    up = nursery.spawn(
        ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(house.folder), *SLUICE, "up"],
        {"PYTHONPATH": str(broken.parent)},
    )
    assert up.wait(_READY_S) == 1
    assert "worker (pid" in up.output
    assert "the install is broken" in up.output.rpartition("Its last lines:")[2]
    assert not family(up)


def test_several_processes_serve_one_port(house: House, nursery: Nursery) -> None:
    (house.folder / "sluice.yaml").write_text(
        f"gateway: {{port: {house.gateway_port}, processes: 2}}\n"
        f"simulate: {{port: {house.simulate_port}}}\nworkers: {{processes: 2}}\n"
    )
    up = start(house, nursery)
    assert {"gateway-1", "gateway-2", "worker-1", "worker-2"} <= set(parts(up))
    assert all(ask(house).status_code == 200 for _ in range(10))
    status = json.loads(house.run("status", "--json").stdout)
    assert len(status["workers"]) == len(status["gateways"]) == 2
    up.process.send_signal(signal.SIGINT)
    assert up.wait(_END_S) == 0


def test_another_redis_is_used_and_left_alone(
    house: House, nursery: Nursery, redis_url: str
) -> None:
    up = start(house, nursery, "--redis-url", redis_url)
    assert "redis" not in parts(up)
    assert house.run("send", "Hello", "--redis-url", redis_url).returncode == 0
    up.process.send_signal(signal.SIGINT)
    assert up.wait(_END_S) == 0
    assert not (house.folder / ".sluice").exists()
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


def test_a_provider_with_a_key_is_named_as_the_one_that_bills(
    house: House, nursery: Nursery, free_port: int
) -> None:
    (house.folder / "sluice.yaml").write_text(
        f"gateway: {{port: {house.gateway_port}, default_model: big}}\n"
        "providers: {openai: {kind: openai, keys: [sk-secret-key-of-somebody]}}\n"
        "models: {big: {deployments: [{provider: openai, model: gpt-4o}]}}\n"
    )
    up = start(house, nursery)
    assert "openai will be billed" in up.output
    assert "secret" not in up.output
    assert "simulated" not in parts(up)
