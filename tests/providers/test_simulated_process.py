"""The simulated provider as a process: its start, its end, its command line."""

import asyncio
import signal
import subprocess
import time

import pytest

from tests.providers.simulated_process import COMMAND, SimulatedProcess
from workers.providers.simulated.calls import MAX_IDS, Calls


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False
    )


def test_the_start_up_line_tells_the_address() -> None:
    with SimulatedProcess("tokens=3") as simulated:
        assert simulated.line == f"simulated provider on {simulated.url}/v1\n".replace("/v1/", "/")
        assert simulated.ask().json()["usage"]["completion_tokens"] == 3


def test_a_taken_port_is_one_line_that_names_it() -> None:
    with SimulatedProcess() as simulated:
        port = simulated.url.split(":")[2].removesuffix("/v1")
        second = run("--port", port)
    assert second.returncode == 1
    assert second.stdout == ""
    assert second.stderr.count("\n") == 1
    assert f"port {port}" in second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_streams_open(number: signal.Signals) -> None:
    with SimulatedProcess() as simulated, simulated.stream("sim:tps=1,tokens=600") as response:
        lines = response.iter_lines()
        next(lines)
        began = time.monotonic()
        simulated.process.send_signal(number)
        assert simulated.process.wait(timeout=10) == 0
        assert time.monotonic() - began < 5
        assert simulated.stop() == (0, "")


def test_an_answer_under_way_is_given_its_time_to_end() -> None:
    with SimulatedProcess() as simulated, simulated.stream("sim:tps=20,tokens=8") as response:
        lines = response.iter_lines()
        next(lines)
        simulated.process.terminate()
        assert [line for line in lines if line][-1] == "data: [DONE]"
        assert simulated.stop() == (0, "")


def test_a_bad_setting_is_told_without_a_traceback() -> None:
    refused = run("--set", "tps=fast")
    assert refused.returncode == 2
    assert "'tps' cannot be 'fast': it must be a number" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_help_lists_the_options() -> None:
    told = run("--help")
    assert told.returncode == 0
    assert "stall_ms" in told.stdout


def test_a_seed_makes_a_run_reproducible() -> None:
    def statuses(seed: int) -> list[tuple[int, str]]:
        with SimulatedProcess("error_rate=0.5", seed=seed) as simulated:
            answers = [simulated.ask() for _ in range(20)]
            return [(answer.status_code, answer.headers["x-request-id"]) for answer in answers]

    assert statuses(1) == statuses(1) != statuses(2)


def test_hundreds_of_streams_run_at_once_and_all_end() -> None:
    body = b'{"model":"sim:tps=20,tokens=20","stream":true,"messages":[{"role":"user"}]}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"

    async def read(port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head % len(body) + body)
        answer = await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return answer.count(b'"content":"') - 1

    async def read_all(port: int) -> list[int]:
        return list(await asyncio.gather(*(read(port) for _ in range(500))))

    with SimulatedProcess() as simulated:
        port = int(simulated.url.split(":")[2].removesuffix("/v1"))
        assert asyncio.run(read_all(port)) == [20] * 500
        counts = simulated.counts()
    assert (counts["finished"], counts["aborted"], counts["peak"]) == (500, 0, 500)


def test_only_the_latest_ids_are_remembered() -> None:
    calls = Calls()
    for number in range(MAX_IDS + 10):
        calls.arrive(b"%d" % number)
    ids = calls.counts().ids
    assert len(ids) == MAX_IDS
    assert next(iter(ids)) == "10"
    assert calls.counts().total == MAX_IDS + 10
