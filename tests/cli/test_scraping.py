"""Where supervised processes tell their metrics, and the one place of `sluice up`."""

import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import httpx
import pytest

from pipeline.embedded.redis_server import free_port
from tests.cli.command import House, error_of
from tests.house_of_sluice import family
from tests.processes import Nursery, Spawned
from tests.telemetry.scrape import Scrape, scrape
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_ENDED: Final = "sluice_requests_total"


@pytest.fixture
def port(house: House, monkeypatch: pytest.MonkeyPatch) -> int:
    """Find free ports in a row for a house's metrics, and configure them."""
    monkeypatch.delenv("SLUICE_TELEMETRY__METRICS_PORT")
    first = next(port for port in iter(free_port, 0) if all(map(_is_free, range(port, port + 4))))
    with (house.folder / "sluice.yaml").open("a") as file:
        file.write(f"telemetry: {{metrics_port: {first}}}\n")
    return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def start(house: House, nursery: Nursery, *arguments: str) -> Spawned:
    started = house.start(nursery, *arguments)
    # A gateway is ready when there are workers, too.
    ready = {"up": "Sluice is ready", "workers": "ready: ", "gateway": "Gateway listens on"}
    started.await_output(ready[arguments[0]], 60)
    return started


def told(port: int, name: str, value: float, **labels: str) -> Scrape:
    """Wait until a metric has this value; gives everything that is told then."""

    def seen() -> Scrape | None:
        found = scrape(port)
        return found if found.total(name, **labels) == value else None

    found = eventually(seen, 30, f"{name} to be {value}")
    assert found is not None
    return found


def ask(house: House, model: str = "fast") -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{house.url}/v1/chat/completions", json=body, timeout=30)
    return answer.status_code


@pytest.mark.crash
def test_up_tells_all_parts_in_one_place_also_after_one_was_killed(
    house: House, nursery: Nursery, port: int
) -> None:
    up = start(house, nursery, "up")
    assert f"Prometheus reads all metrics at http://127.0.0.1:{port}/metrics" in up.output
    assert ask(house) == 200
    found = told(port, _ENDED, 1, part="worker")
    assert found.values("sluice_part_up", "part") == {"worker", "gateway"}
    assert found.total("sluice_part_up") == 2
    assert found.total("sluice_http_requests_total", part="gateway", method="POST") == 1
    assert found.total("sluice_workers", part="gateway") == 1
    assert all("part" in sample.labels for sample in found.samples)
    # Each tells its own, too.
    assert scrape(port + 1).total(_ENDED) == 1
    assert scrape(port + 2).total("sluice_redis_up") == 1
    (pid,) = re.findall(r"^worker +\S+ +(\d+)\s*$", up.output, re.MULTILINE)
    os.kill(int(pid), signal.SIGKILL)
    # The new one goes on with the same socket, and counts from 0.
    eventually(lambda: told(port, "sluice_part_up", 1, part="worker").total(_ENDED) == 0)
    assert ask(house) == 200
    told(port, _ENDED, 1, part="worker")
    up.process.send_signal(signal.SIGINT)
    assert up.wait() == 0


@pytest.mark.crash
def test_a_part_that_stands_still_is_told_to_be_down_and_holds_nobody_up(
    house: House, nursery: Nursery, port: int
) -> None:
    up = start(house, nursery, "up")
    (pid,) = re.findall(r"^worker +\S+ +(\d+)\s*$", up.output, re.MULTILINE)
    its = family(int(pid))
    for each in its:
        os.kill(each, signal.SIGSTOP)
    down = told(port, "sluice_part_up", 0, part="worker")
    assert down.total("sluice_part_up", part="gateway") == 1
    assert down.values("process_open_fds", "part") == {"gateway"}
    for each in its:
        os.kill(each, signal.SIGCONT)
    told(port, "sluice_part_up", 1, part="worker")


@pytest.mark.parametrize("further", [0, 2])
def test_a_taken_port_is_named_before_anything_starts(
    house: House, port: int, further: int
) -> None:
    with socket.create_server(("127.0.0.1", port + further)):
        line = error_of(house.run("up"))
    assert f"port {port + further} on 127.0.0.1" in line
    assert "telemetry.metrics_port" + (" + 2" if further else "") in line
    assert not (house.folder / ".sluice" / "redis.log").exists()


def test_workers_by_themselves_have_a_port_each(
    house: House, nursery: Nursery, port: int, redis_url: str
) -> None:
    workers = start(house, nursery, "workers", "--redis-url", redis_url, "--processes", "2")
    for number in range(2):
        assert "sluice_worker_running" in scrape(port + number).names
    workers.process.send_signal(signal.SIGTERM)
    assert workers.wait() == 0


def test_gateways_behind_one_port_have_a_port_each_for_metrics(
    house: House, nursery: Nursery, port: int, redis_url: str
) -> None:
    start(house, nursery, "gateway", "--redis-url", redis_url, "--processes", "2")
    for number in range(2):
        told(port + number, "sluice_gateways", 2)


def test_a_single_gateway_needs_no_port_for_them(
    house: House, nursery: Nursery, port: int, redis_url: str
) -> None:
    start(house, nursery, "gateway", "--redis-url", redis_url)
    assert _is_free(port)
    assert scrape(house.gateway_port).total("sluice_gateways") == 1


def test_port_0_leaves_them_out(house: House, nursery: Nursery, redis_url: str) -> None:
    up = start(house, nursery, "up", "--redis-url", redis_url)
    assert "metrics" not in up.output
    assert httpx.get(f"{house.url}/metrics").status_code == 404


def test_workers_tell_none_where_only_a_file_names_the_port(
    tmp_path: Path, house: House, nursery: Nursery, port: int, redis_url: str
) -> None:
    command = ["/bin/sh", "-c", 'cd "$0" && exec dramatiq workers.app --processes 1 --threads 1']
    environment = {
        "SLUICE_REDIS_URL": redis_url,
        "SLUICE_CONFIG": str(house.folder / "sluice.yaml"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    worker = nursery.spawn([*command, str(tmp_path)], environment, "worker")
    worker.await_output("ready for action", 30)
    assert _is_free(port)
