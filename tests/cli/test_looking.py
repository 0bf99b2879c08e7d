"""`send`, `show`, `tail` and `status`, beside a `sluice up` that runs."""

import json
import shlex
import signal
import subprocess
from collections.abc import Iterator

import pytest
import redis

from pipeline.names import Names
from tests.cli.command import SLUICE, House, error_of
from tests.processes import Nursery

pytestmark = pytest.mark.journey

_ANSWER = 'You wrote: "Hello there"'


@pytest.fixture
def client(running: House) -> Iterator[redis.Redis]:
    """Connect to the Redis that `up` runs, as it tells others."""
    told = json.loads((running.folder / ".sluice" / "up.json").read_text())
    with redis.Redis.from_url(told["redis_url"], protocol=2) as made:
        yield made


def id_of(stderr: str) -> str:
    (line,) = stderr.splitlines()
    word, request_id = line.split()
    assert word == "request"
    return request_id


@pytest.mark.parametrize("via", ["http", "redis"])
@pytest.mark.parametrize("way", ["--stream", "--no-stream"])
def test_an_answer_comes_to_stdout_and_the_id_to_stderr(running: House, via: str, way: str) -> None:
    done = running.run("send", "Hello there", "--via", via, way, "--priority", "5")
    assert done.returncode == 0
    assert _ANSWER in done.stdout
    shown = json.loads(running.run("show", id_of(done.stderr), "--json").stdout)
    assert shown["status"] == "completed"
    assert [line["hop"] for line in shown["journal"]] == ["route", "gate", "call", "respond"]
    assert shown["entry"].startswith("high:")


def test_an_answer_streams_as_it_comes(running: House, nursery: Nursery) -> None:
    model = "simulated/sim:ttft_ms=0,tps=10,tokens=100"
    for via in ("http", "redis"):
        sent = running.start(nursery, "send", "Hello there", "--via", via, "--model", model)
        sent.await_output("Simulated answer")
        assert sent.process.poll() is None
        sent.process.send_signal(signal.SIGINT)
        assert sent.wait() != 0
        assert "Traceback" not in sent.output


def test_a_prompt_is_read_from_stdin(running: House) -> None:
    assert _ANSWER in running.run("send", "-", stdin="Hello there").stdout


@pytest.mark.parametrize("via", ["http", "redis"])
def test_json_gives_each_chunk_as_it_came(running: House, via: str) -> None:
    lines = running.run("send", "Hello there", "--json", "--via", via).stdout.splitlines()
    chunks = [json.loads(line) for line in lines]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


@pytest.mark.parametrize("via", ["http", "redis"])
def test_json_gives_the_whole_answer_without_a_stream(running: House, via: str) -> None:
    done = running.run("send", "Hello there", "--json", "--no-stream", "--via", via)
    assert json.loads(done.stdout)["object"] == "chat.completion"


@pytest.mark.parametrize("via", ["http", "redis"])
def test_an_error_is_one_line_and_exit_code_1(running: House, via: str) -> None:
    done = running.run("send", "Hello", "--model", "nope", "--via", via)
    assert done.returncode == 1
    assert "`nope` does not exist" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("via", ["http", "redis"])
def test_a_stream_that_is_cut_is_an_error(running: House, via: str) -> None:
    done = running.run("send", "Hello", "--model", "simulated/sim:cut_at=5", "--via", via)
    assert done.returncode == 1
    assert done.stdout.startswith("Simulated answer")
    assert "sluice: " in done.stderr


@pytest.mark.parametrize("via", ["http", "redis"])
def test_async_gives_the_id_at_once(running: House, via: str) -> None:
    done = running.run("send", "Hello there", "--async", "--via", via)
    request_id = done.stdout.strip()
    assert done.stderr == ""
    assert running.run("show", request_id).returncode == 0


def test_sending_by_redis_leaves_no_callback_stream_behind(
    running: House, client: redis.Redis
) -> None:
    before = set(client.scan_iter("sluice-cli:*"))
    running.run("send", "Hello", "--via", "redis")
    running.run("send", "Hello", "--via", "redis", "--model", "nope")
    assert set(client.scan_iter("sluice-cli:*")) <= before
    # Who was interrupted could not delete its own; they go by themselves.
    assert all(client.ttl(key) > 0 for key in before)


def test_show_tells_the_journey_and_the_answer(running: House) -> None:
    request_id = id_of(running.run("send", "Hello there").stderr)
    shown = running.run("show", request_id).stdout
    for words in (request_id, "completed", "simulated/fast", "└─", "respond", "tokens", _ANSWER):
        assert words in shown


def test_show_tells_the_error_of_what_failed(running: House) -> None:
    done = running.run("send", "Hello", "--model", "simulated/sim:error=400", "--via", "redis")
    request_id = done.stderr.split()[1]
    shown = running.run("show", request_id)
    assert "failed" in shown.stdout
    assert "bad_request" in shown.stdout
    told = json.loads(running.run("show", request_id, "--json").stdout)
    assert told["failure"]["cause"] == "bad_request"


def test_an_unknown_id_is_one_line(running: House) -> None:
    assert "no request nobody is known" in error_of(running.run("show", "nobody"))


def test_tail_tells_each_end_and_ends_cleanly(running: House, nursery: Nursery) -> None:
    tail = running.start(nursery, "tail", "--json")
    first = running.run("send", "first, so that the tail is seen to run", "--via", "redis")
    while id_of(first.stderr) not in tail.output:
        first = running.run("send", "again", "--via", "redis")
    request_id = id_of(running.run("send", "Hello there").stderr)
    failed = running.run("send", "Hello", "--model", "nope", "--via", "redis").stderr.split()[1]
    tail.await_output(f'"dead","id":"{failed}"')
    tail.process.send_signal(signal.SIGINT)
    assert tail.wait() == 0
    moves = [json.loads(line) for line in tail.output.splitlines()]
    (done,) = [m for m in moves if m["id"] == request_id and m["stream"] == "done"]
    assert done["status"] == "completed"
    assert done["deployment"] == "simulated/fast"
    assert done["ms"] > 0


def test_tail_shows_only_what_was_asked_for(running: House, nursery: Nursery) -> None:
    tail = running.start(nursery, "tail", "--status", "failed", "--model", "nope")
    while "nope" not in tail.output:
        running.run("send", "Hello there")
        running.run("send", "Hello", "--model", "nope", "--via", "redis")
    tail.process.send_signal(signal.SIGINT)
    assert tail.wait() == 0
    assert "completed" not in tail.output
    assert all("nope failed" in line for line in tail.output.splitlines())


def test_status_tells_streams_groups_and_who_lives(running: House) -> None:
    running.run("send", "Hello there")
    told = json.loads(running.run("status", "--json").stdout)
    streams = {stream["name"]: stream for stream in told["streams"]}
    assert streams["requests:default"]["groups"][0]["name"] == "route"
    assert streams["done"]["length"] >= 1
    assert len(told["workers"]) == len(told["gateways"]) == 1
    assert told["counters"]["refused"] == 0
    seen = running.run("status").stdout
    for words in ("requests:high", "route", "worker ", "gateway ", "waiting: 0", "refused 0"):
        assert words in seen


def test_status_counts_what_a_group_has_not_read_and_holds(
    running: House, client: redis.Redis
) -> None:
    names = Names("sluice")
    running.run("send", "Hello there")
    client.xgroup_create(names.done, "ledger", "0")
    client.xreadgroup("ledger", "me", {names.done: ">"}, count=1)
    running.run("send", "Hello there")
    told = json.loads(running.run("status", "--json").stdout)
    (done,) = [stream for stream in told["streams"] if stream["name"] == "done"]
    (ledger,) = [group for group in done["groups"] if group["name"] == "ledger"]
    client.xgroup_destroy(names.done, "ledger")
    assert ledger["pending"] == 1
    assert ledger["waiting"] == done["length"] - 1
    assert ledger["oldest_pending_s"] > 0


def test_status_names_the_group_that_holds_back_trimming(
    running: House, client: redis.Redis
) -> None:
    names = Names("sluice")
    for _ in range(2):
        running.run("send", "Hello there")
    client.xgroup_create(names.done, "asleep", "0")
    (running.folder / "tight.yaml").write_text("retention: {max_entries: 1}\n")
    client_url = json.loads((running.folder / ".sluice" / "up.json").read_text())["redis_url"]
    asked = ("status", "--config", "tight.yaml", "--redis-url", client_url)
    told = json.loads(running.run(*asked, "--json").stdout)
    seen = running.run(*asked).stdout
    client.xgroup_destroy(names.done, "asleep")
    held = {stream["name"]: stream["held_back_by"] for stream in told["streams"]}
    assert held["done"] == "asleep"
    assert "group asleep alone keeps done" in seen


def test_status_goes_on_until_ctrl_c(running: House, nursery: Nursery) -> None:
    watch = running.start(nursery, "status", "--watch", "0.1", "--json")
    watch.await_output("\n{")
    watch.process.send_signal(signal.SIGINT)
    assert watch.wait() == 0


def test_a_reader_that_leaves_is_no_traceback(running: House) -> None:
    command = shlex.join([*SLUICE, "send", "Hello there", "--model", "simulated/sim:tps=100"])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} | head -c 3"],
        cwd=running.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "Sim"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
