"""The quarantine and the test ground themselves."""

import os
import socket
import sys

import pytest
import redis

from tests.environment import OutsideRefused, forget_providers
from tests.processes import Spawn, runs
from tests.waiting import eventually

_FAMILY = """
import os, signal
os.fork()
os.write(1, b"member %d " % os.getpid())
signal.pause()
"""


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "SLUICE_REDIS_URL", "https_proxy", "LLM_RPM"])
def test_a_variable_that_configures_us_is_forgotten(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    forget_providers()
    assert name not in os.environ


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_socket_that_leaves_the_machine_is_refused(family: socket.AddressFamily) -> None:
    host = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"
    with socket.socket(family) as link, pytest.raises(OutsideRefused, match=host):
        link.connect((host, 80))


def test_a_look_up_that_leaves_the_machine_is_refused() -> None:
    with pytest.raises(OutsideRefused, match=r"provider\.example"):
        socket.create_connection(("provider.example", 80))


def test_loopback_is_open(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)) as server:
        server.listen()
        with socket.create_connection(("localhost", free_port)):
            pass


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_finds_the_shared_redis_empty(turn: int, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("turn", turn)


def test_a_whole_family_of_processes_ends_with_its_test(spawn: Spawn) -> None:
    parent = spawn([sys.executable, "-c", _FAMILY])
    eventually(lambda: parent.output.count("member") == 2)
    parent.end()
    members = [int(word) for word in parent.output.split() if word != "member"]
    eventually(lambda: not any(map(runs, members)), what="the end of the whole family")


def test_a_process_that_ends_too_early_fails_the_wait_with_its_output(spawn: Spawn) -> None:
    child = spawn([sys.executable, "-c", "print('cannot start'); raise SystemExit(3)"])
    with pytest.raises(AssertionError, match="cannot start"):
        child.await_output("ready")
    assert child.wait() == 3


def test_a_wait_fails_with_what_it_saw_last() -> None:
    with pytest.raises(AssertionError, match=r"the end; last: 0"):
        eventually(lambda: 0, timeout_s=0.05, what="the end")
