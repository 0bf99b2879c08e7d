"""The configuration is replaced while requests go on: none fails, and everyone goes by the new."""

import hashlib
import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Final, cast

import httpx
import pytest

from tests.cli.command import sluice
from tests.house_of_sluice import House, Section, requests
from tests.journeys.conftest import BuildHouse
from tests.reckoning import Reckoning
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_CLIENTS: Final = 8


def tenants(*tokens: str) -> dict[str, Section]:
    """Give a tenant with these tokens."""
    hashes = [f"sha256:{hashlib.sha256(token.encode()).hexdigest()}" for token in tokens]
    return {"acme": {"tokens": hashes}}


def served_by(*models: str, **limits: int) -> dict[str, Section]:
    """Give the model `m` with these deployments, asked by turns."""
    deployments = [{"provider": "sim", "model": model, "limits": limits} for model in models]
    return {"m": {"deployments": deployments, "strategy": "least_busy"}}


def reload(house: House, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `sluice reload` beside a house."""
    return sluice(house.directory, "reload", *options, env=house.environment())


def reloaded(house: House) -> Any:
    """Reload, and give what is told of it when every part has taken it over."""
    done = reload(house, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def chat(house: House, model: str, token: str = "") -> httpx.Response:
    """Ask once."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    url = f"{house.url}/v1/chat/completions"
    return httpx.post(url, json=body, headers=headers, timeout=30)


@contextmanager
def steady_load(house: House, model: str, token: str) -> Iterator[list[tuple[int, str]]]:
    """Ask all the time, from several clients; the list holds what came of it."""
    over, told = Event(), list[tuple[int, str]]()

    def ask() -> None:
        while not over.is_set():
            answer = chat(house, model, token)
            told.append((answer.status_code, answer.text[:200]))

    with ThreadPoolExecutor(_CLIENTS) as pool:
        asking = [pool.submit(ask) for _ in range(_CLIENTS)]
        try:
            yield told
        finally:
            over.set()
            for one in asking:
                one.result(60)


def calls_of(house: House) -> list[Mapping[str, Any]]:
    """List the facts of all calls that were answered."""
    ended = Reckoning(house.client, house.names).ended()
    lines = [line for event in ended for line in event["journal"] if line["hop"] == "call"]
    facts = [cast("Mapping[str, Any]", line["facts"]) for line in lines]
    return [one for one in facts if "call_ms" in one]


def test_no_request_fails_while_everything_is_replaced(build_house: BuildHouse) -> None:
    slow: Section = {"scan_s": 3, "liveness_s": 6}
    first: dict[str, Section] = {
        "workers": slow,
        "providers": {"sim": {"keys": ["sk-one"]}},
        "models": served_by("one:tokens=3,tps=60", "two:tokens=3,tps=60", concurrency=3),
        "tenants": tenants("stays", "goes"),
    }
    house = build_house(**first).start(workers=2)
    second: dict[str, Section] = {
        **first,
        "providers": {"sim": {"keys": ["sk-two"]}},
        "models": {
            **served_by("two:tokens=3,tps=60", "three:tokens=3,tps=60", concurrency=3),
            "fresh": {"deployments": [{"provider": "sim", "model": "fresh"}]},
        },
        "tenants": tenants("stays", "comes"),
    }
    assert chat(house, "fresh", "goes").status_code == 404
    with steady_load(house, "m", "stays") as told:
        eventually(lambda: len(told) > 20)
        house.configure(second)
        began = monotonic()
        outcome = reloaded(house)
        # A scan lies 3 s behind the next; the rest is for a machine that is busy.
        assert monotonic() - began < 20, "the parts took it over too late"
        after = len(told)
        assert chat(house, "fresh", "comes").status_code == 200
        assert chat(house, "fresh", "goes").status_code == 401
        eventually(lambda: len(told) > after + 20)
    assert {status for status, _ in told} == {200}, [one for one in told if one[0] != 200]
    kinds = sorted(part["kind"] for part in outcome["parts"] if part["took_over"])
    assert kinds == ["gateway", "worker", "worker"]
    by_version: dict[str, set[str]] = {}
    for facts in calls_of(house):
        by_version.setdefault(facts["config"], set()).add(facts["deployment"].partition(":")[0])
    new = by_version.pop(outcome["version"])
    assert {"sim/two", "sim/three"} <= new <= {"sim/two", "sim/three", "sim/fresh"}
    assert by_version.popitem()[1] == {"sim/one", "sim/two"}
    assert Reckoning(house.client, house.names).left_over() == {}


def test_a_faulty_file_changes_nothing(build_house: BuildHouse) -> None:
    house = build_house(models=served_by("one")).start()
    before = house.client.get(house.names.config)
    house.configure({"models": {"m": {"deployments": [{"provider": "none", "model": "x"}]}}})
    done = reload(house)
    assert done.returncode == 1
    assert "models.m.deployments[0].provider" in done.stderr
    assert house.client.get(house.names.config) == before
    assert chat(house, "m").status_code == 200


def test_a_dry_run_tells_what_differs_and_changes_nothing(build_house: BuildHouse) -> None:
    house = build_house(models=served_by("one"), providers={"sim": {"keys": ["sk-old"]}}).start()
    before = house.client.get(house.names.config)
    house.configure(
        {
            "models": {"n": {"deployments": [{"provider": "sim", "model": "one"}]}},
            "providers": {"sim": {"keys": ["sk-secret"], "limits": {"rpm": 7}}},
            "workers": {"grace_s": 3},
        }
    )
    done = reload(house, "--dry-run")
    assert done.returncode == 0, done.stderr
    told = [line.strip() for line in done.stdout.splitlines()]
    for line in ("models.n is new", "models.m is gone", "providers.sim is changed"):
        assert line in told
    assert "provider sim: none → rpm 7" in told
    assert told[told.index("This takes a restart:") + 1] == "workers.grace_s"
    assert "sk-" not in done.stdout
    assert house.client.get(house.names.config) == before
    assert chat(house, "n").status_code == 404


def test_who_waits_for_a_deployment_that_is_taken_out_gets_another(
    build_house: BuildHouse,
) -> None:
    slow = "slow:ttft_ms=2500,tokens=2"
    alone: dict[str, Section] = {"providers": {"sim": {}}}
    house = build_house(**alone, models=served_by(slow, concurrency=1)).start(workers=2)
    house.xadd(requests(6, "m"))
    eventually(lambda: house.client.hlen(house.names.parked) == 5)
    house.configure({**alone, "models": served_by("quick:tokens=2")})
    version = reloaded(house)["version"]
    Reckoning(house.client, house.names).check([f"r{number}" for number in range(6)])
    calls = [(facts["deployment"], facts["config"] == version) for facts in calls_of(house)]
    assert set(calls) == {("sim/quick:tokens=2", True), (f"sim/{slow}", False)}
    # On a busy machine the slow one may end before the new configuration is in force.
    assert calls.count(("sim/quick:tokens=2", True)) >= 3


def test_who_waits_for_a_key_that_is_replaced_goes_with_the_new_one(
    build_house: BuildHouse,
) -> None:
    def with_key(key: str) -> dict[str, Section]:
        return {
            "providers": {"sim": {"keys": [key]}},
            "models": served_by("one:tokens=2"),
            "gate": {"probe_s": 600},
        }

    house = build_house(**with_key("sk-bad-1"))
    house.start_simulated("bad_key=sk-bad")
    house.await_gateway(house.spawn_gateway())
    house.start_worker()
    dead = f"{house.names.limits}:dead"
    assert chat(house, "m").status_code == 502
    assert house.client.hlen(dead) == 1
    house.configure(with_key("sk-good"))
    reloaded(house)
    assert chat(house, "m").status_code == 200


def test_a_worker_that_starts_later_goes_by_the_new_one(build_house: BuildHouse) -> None:
    house = build_house(models=served_by("one")).start()
    house.configure({"models": served_by("two")})
    reloaded(house)
    house.redis.restart()
    eventually(lambda: house.ask("GET", "/health/full")[0] == 200)
    house.start_worker()
    house.configure({"models": served_by("three")})
    outcome = reloaded(house)
    assert [part["kind"] for part in outcome["parts"]] == ["worker", "worker", "gateway"]
    house.xadd(requests(8, "m"))
    Reckoning(house.client, house.names).check([f"r{number}" for number in range(8)])
    assert {(facts["deployment"], facts["config"]) for facts in calls_of(house)} == {
        ("sim/three", outcome["version"])
    }


def test_a_machine_with_another_file_is_told_by_name(
    build_house: BuildHouse, tmp_path: Path
) -> None:
    house = build_house(models=served_by("one")).start()
    other = tmp_path / "other.yaml"
    other.write_text(house.config.read_text())
    here, house.config = house.config, other
    apart, name = house.start_worker()
    house.config = here
    house.configure({"models": served_by("two")})
    done = reload(house)
    assert done.returncode == 1
    assert f"It is NOT in force in worker {name}:" in done.stdout
    assert "It is in force in worker" in done.stdout
    apart.await_output("Another configuration was published")
    other.write_text("models: [")
    done = reload(house)
    assert done.returncode == 1
    assert "no valid YAML" in done.stdout
    apart.await_output("Configuration was refused")
    other.write_text(here.read_text())
    reloaded(house)


def test_sighup_to_a_supervisor_reloads(build_house: BuildHouse) -> None:
    house = build_house(models=served_by("one"))
    house.start_simulated()
    gateway, crew = house.spawn_gateway(), house.spawn_crew()
    house.await_gateway(gateway)
    name = house.await_worker(crew)
    crew.await_output("ready: ")
    house.configure({"models": served_by("two")})
    crew.process.send_signal(signal.SIGHUP)
    crew.await_output(f"It is in force in worker {name}, gateway ")
    assert chat(house, "m").status_code == 200
    assert [facts["deployment"] for facts in calls_of(house)] == ["sim/two"]
    house.configure({"models": served_by("")})
    crew.process.send_signal(signal.SIGHUP)
    crew.await_output("the configuration is as it was")
    assert chat(house, "m").status_code == 200
