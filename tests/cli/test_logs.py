"""`sluice up 2>log` with JSON logs: each line that comes out on stderr is one object."""

import json
import os
import signal
from pathlib import Path
from typing import cast

import pytest

from pipeline.telemetry.logs import is_line
from tests.cli.command import SLUICE, House
from tests.processes import Nursery, Spawned
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_SETTINGS = "telemetry: {logs: json}\nworkers: {processes: 2, liveness_s: 2, scan_s: 0.5}"


def start(house: House, nursery: Nursery, *arguments: str) -> Spawned:
    """Start a command in the house's folder, with its stderr in the file `log` there."""
    there = ("/bin/sh", "-c", 'cd "$0" && exec "$@" 2>log', str(house.folder))
    return nursery.spawn([*there, *SLUICE, *arguments], {"COLUMNS": "160"}, arguments[0])


def lines(log: Path) -> list[dict[str, object]]:
    """Read the log; what has no end yet is left out."""
    *whole, _ = log.read_text().split("\n")
    assert all(map(is_line, whole)), whole
    return [cast("dict[str, object]", json.loads(line)) for line in whole]


def test_all_that_up_writes_on_stderr_is_json(tmp_path: Path, nursery: Nursery) -> None:
    house = House(tmp_path / "house", _SETTINGS)
    log = house.folder / "log"
    up = start(house, nursery, "up")
    up.await_output("Sluice is ready", 60)
    told = json.loads(house.run("status", "--json").stdout)
    os.kill(told["workers"][0]["pid"], signal.SIGKILL)
    eventually(lambda: any(line["event"] == "Part ended" for line in lines(log)), 20)
    assert house.run("send", "Hello").returncode == 0
    up.process.send_signal(signal.SIGTERM)
    assert up.wait() == 0
    found = lines(log)
    [ended] = [line for line in found if line["event"] == "Part ended"]
    assert (ended["level"], ended["part"]) == ("warning", "sluice")
    assert ended["child"] in ("worker-1", "worker-2")
    assert {line["part"] for line in found} == {
        "gateway", "simulated", "sluice", "worker-1", "worker-2",
    }  # fmt: skip
    wrapped = [str(line["event"]) for line in found if line["logger"] == "output"]
    assert any(text.startswith("Gateway listens on") for text in wrapped)


def test_who_gives_up_says_so_in_a_line(tmp_path: Path, nursery: Nursery) -> None:
    house = House(tmp_path / "house", _SETTINGS)
    broken = house.folder / "sitecustomize.py"
    broken.write_text("import sys\nif 'dramatiq' in sys.orig_argv:\n    sys.exit('no luck')\n")
    there = {"PYTHONPATH": str(house.folder)}
    shell = ("/bin/sh", "-c", 'cd "$0" && exec "$@" 2>log', str(house.folder))
    up = nursery.spawn([*shell, *SLUICE, "up"], there, "up")
    assert up.wait(40) == 1
    last = lines(house.folder / "log")[-1]
    assert (last["level"], last["event"]) == ("critical", "Gave up")
    assert "no luck" in str(last["reason"])
