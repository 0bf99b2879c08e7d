"""The gateway process: its start, its faults in one line, its end."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from gateway.listening import listen
from pipeline.embedded import redis_server as embedded
from pipeline.errors import StartError
from tests.gateway.conftest import CONFIG, StartHouse
from tests.processes import Spawn, Spawned
from tests.waiting import eventually

GATEWAY = [sys.executable, "-m", "gateway"]


def fails(process: Spawned) -> str:
    """Wait for a process that cannot start; gives what it said."""
    assert process.wait() == 1
    return process.output


def test_a_taken_port_is_one_clear_line(spawn: Spawn, redis_url: str) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        said = fails(spawn([*GATEWAY, "--redis-url", redis_url, "--port", port]))
    assert said.count("\n") == 1
    assert f"port {port}" in said
    assert "in use" in said


def test_an_unreachable_redis_is_one_clear_line(spawn: Spawn, free_port: int) -> None:
    url = f"redis://:hidden@127.0.0.1:{embedded.free_port()}/0"
    said = fails(spawn([*GATEWAY, "--redis-url", url, "--port", str(free_port)]))
    assert said.count("\n") == 1
    assert "Redis at redis://" in said
    assert "hidden" not in said


def test_listening_to_all_without_tenants_is_refused_unless_open(
    spawn: Spawn, redis_url: str, free_port: int
) -> None:
    command = [*GATEWAY, "--redis-url", redis_url, "--host", "0.0.0.0", "--port", str(free_port)]
    assert "gateway.open" in fails(spawn(command))
    opened = spawn(command, {"SLUICE_GATEWAY__OPEN": "true"})
    opened.await_output(f"Gateway listens on http://127.0.0.1:{free_port}")


def test_a_bad_configuration_names_its_fault(spawn: Spawn, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("gateway: {prot: 1}\n")
    assert "gateway.prot" in fails(spawn([*GATEWAY, "--config", str(file)]))


def test_a_socket_can_be_handed_down_and_shared(redis_url: str, tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as shared:
        descriptor = shared.fileno()
        command = [*GATEWAY, "--redis-url", redis_url, "--fd", str(descriptor)]
        both = [
            subprocess.Popen(command, pass_fds=(descriptor,), stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        try:
            for process in both:
                assert process.stdout is not None
                assert process.stdout.readline().startswith(b"Gateway listens on")
            with socket.create_connection(shared.getsockname(), timeout=5) as link:
                link.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
                assert link.recv(100).startswith(b"HTTP/1.1 200")
        finally:
            for process in both:
                process.terminate()
                assert process.wait(15) == 0
                assert process.stdout is not None
                process.stdout.close()


def test_several_sockets_can_share_a_port() -> None:
    with listen("127.0.0.1", 0, shared=True) as one:
        port = one.getsockname()[1]
        with listen("127.0.0.1", port, shared=True) as other:
            assert other.getsockname()[1] == port
        with pytest.raises(StartError):
            listen("127.0.0.1", port)


def test_sigterm_lets_open_requests_finish_and_removes_the_inbox(start_house: StartHouse) -> None:
    house = start_house()
    with redis.Redis.from_url(house.redis_url, protocol=2) as link, ThreadPoolExecutor(2) as pool:
        open_ones = [
            pool.submit(house.chat, "sim/silent", stream=stream, user="stopping")
            for stream in (True, False)
        ]
        eventually(lambda: link.xlen("sluice:requests:default") == 2)
        assert len(link.keys("sluice:inbox:*")) == 1
        house.process.process.terminate()
        house.process.await_output("Gateway stopped accepting  open=2")
        with pytest.raises(ConnectionRefusedError):
            eventually(lambda: socket.create_connection(("127.0.0.1", house.port)).close())
        house.go("stopping")
        assert [future.result().status for future in open_ones] == [200, 200]
        assert b"[DONE]" in open_ones[0].result().body
        assert house.process.wait() == 0
        assert link.keys("sluice:inbox:*") == []
        assert link.zcard("sluice:gateways") == 0


def test_after_the_grace_open_streams_end_with_an_error_frame(start_house: StartHouse) -> None:
    house = start_house(CONFIG, pace='{"grace_s":0.5}')
    with ThreadPoolExecutor(2) as pool:
        with house.open(
            "POST",
            "/v1/chat/completions",
            {"model": "sim/slow", "messages": [{"role": "user"}], "stream": True},
        ) as answer:
            assert answer.readline().startswith(b"data: ")
            waits = pool.submit(house.chat, "sim/never")
            house.process.process.terminate()
            rest = answer.read()
        assert b'"code":"stream_interrupted"' in rest
        assert b"[DONE]" not in rest
        assert waits.result().status == 503
    assert house.process.wait() == 0
    assert "Traceback" not in house.process.output
