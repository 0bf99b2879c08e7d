"""SIGHUP to the command that runs everything, and to a terminal's that was closed."""

import os
import pty
import signal
import subprocess

import httpx
import pytest

from tests.cli.command import SLUICE, House
from tests.processes import Nursery
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_READY_S = 60.0
_FAR = "providers: {far: {kind: ollama, base_url: 'http://127.0.0.1:1/v1'}%s}\n"
_FAST = "models: {fast: {deployments: [{provider: %s, model: x}]}}\nworkers: {scan_s: 0.5}\n"
_SIMULATED = ", sim: {kind: simulated}"


def write(house: House, provider: str, more: str = "") -> None:
    """Write a configuration whose one model is this provider's."""
    ports = f"gateway: {{port: {house.gateway_port}}}\nsimulate: {{port: {house.simulate_port}}}\n"
    (house.folder / "sluice.yaml").write_text(ports + _FAR % more + _FAST % provider)


def test_sighup_reloads_all_that_up_runs(house: House, nursery: Nursery) -> None:
    write(house, "far")
    up = house.start(nursery, "up")
    up.await_output("Sluice is ready", _READY_S)
    write(house, "sim", _SIMULATED)
    up.process.send_signal(signal.SIGHUP)
    up.await_output("providers.sim is new")
    up.await_output(f"nothing listens on 127.0.0.1:{house.simulate_port}: restart `sluice up`")
    up.await_output("It is in force in worker ")
    nursery.spawn([*SLUICE, "simulate", "--port", str(house.simulate_port)]).await_output(
        "simulated provider on"
    )
    body = {"model": "fast", "messages": [{"role": "user", "content": "Hello"}]}
    answer = httpx.post(f"{house.url}/v1/chat/completions", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    again = house.run("reload")
    assert again.returncode == 0
    assert "Warning" not in again.stdout
    up.process.send_signal(signal.SIGTERM)
    assert up.wait() == 0


def test_up_ends_with_its_terminal(house: House) -> None:
    leader, terminal = pty.openpty()
    try:
        up = subprocess.Popen(
            [*SLUICE, "up"],
            cwd=house.folder,
            stdin=terminal,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
        )
        os.close(terminal)
        try:
            eventually((house.folder / ".sluice" / "up.json").exists, _READY_S, "a start")
        finally:
            os.close(leader)
            up.send_signal(signal.SIGHUP)
        assert up.wait(30) == 0
    finally:
        up.kill()
        up.wait()
