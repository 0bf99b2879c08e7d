"""`sluice replay` on a Redis in which requests have ended."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from pipeline import clock
from pipeline.embedded.redis_server import EmbeddedRedis
from pipeline.streams.past.replaying import MAX_WAITING
from tests.cli.command import SLUICE, error_of, sluice
from tests.processes import Spawn
from tests.streams import rig
from tests.streams.pasts import past, replayed
from tests.streams.rig import NAMES, Client
from tests.waiting import eventually


class Desk:
    """The command on the shared Redis, which has some past."""

    def __init__(self, folder: Path, redis_url: str, client: Client) -> None:
        self.folder = folder
        self.client = client
        self.where = ("--redis-url", redis_url, "--namespace", NAMES.prefix)
        for number in range(6):
            past(client, f"r{number}", status="failed" if number % 2 else "completed")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return sluice(self.folder, "replay", *arguments, *self.where)

    def told(self, *arguments: str) -> Any:
        """Give what it tells as JSON."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def command(self, *arguments: str) -> list[str]:
        """Give the words of a command that is to be started."""
        return [*SLUICE, "replay", *arguments, *self.where]

    def replayed(self) -> list[str]:
        """List the past requests that came again, in their order."""
        return [event.replay_of for event in replayed(self.client)]


@pytest.fixture
def desk(tmp_path: Path, redis_url: str) -> Iterator[Desk]:
    """Give a desk."""
    with rig.connect(redis_url) as client:
        yield Desk(tmp_path, redis_url, client)


def name_of(stderr: str) -> str:
    word, name = stderr.splitlines()[0].split()
    assert word == "replay"
    return name


def test_what_came_of_a_replay_is_told(desk: Desk) -> None:
    desk.client.xtrim(NAMES.requests["default"], maxlen=5, approximate=False)
    desk.client.hset(NAMES.record("r1"), "status", "running")
    done = desk.run("--since", "1h")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "Replayed 4 of 6 requests that were asked for.",
        "1 have no body any more.",
        "1 have ended otherwise since, or are under way again.",
    ]
    assert desk.replayed() == ["r2", "r3", "r4", "r5"]
    assert done.stderr == f"replay {name_of(done.stderr)}\n"


def test_json_tells_all_counts_and_what_was_asked(desk: Desk) -> None:
    since = clock.rfc3339(clock.now() - 60)
    told = desk.told("--since", since, "--status", "failed", "--limit", "2", "--model", "m")
    assert (told["matched"], told["replayed"], told["without_body"]) == (2, 2, 0)
    assert told["asked"]["status"] == "failed"
    assert told["finished"] >= told["started"] > 0


def test_times_bound_what_comes_again(desk: Desk) -> None:
    now = clock.now()
    past(desk.client, "yesterday", created=now - 86_400)
    told = desk.told("--since", "25h", "--until", "2h")
    assert (told["seen"], told["replayed"]) == (7, 1)
    assert desk.replayed() == ["yesterday"]


def test_a_dry_run_writes_nothing(desk: Desk) -> None:
    before = set(desk.client.keys("*"))
    done = desk.run("--since", "1h", "--dry-run", "--status", "failed")
    assert done.stdout == "Would replay 3 of 3 requests that were asked for.\n"
    assert done.stderr == ""
    assert set(desk.client.keys("*")) == before


def test_the_model_may_be_another_that_there_is(desk: Desk) -> None:
    asked = ("--since", "1h", "--limit", "1", "--to-model")
    desk.run(*asked, "quality", "--priority", "5", "--shadow")
    [event] = replayed(desk.client, "high")
    assert (event.model, event.shadow, event.priority) == ("quality", True, 5)
    assert "nobody/knows" in error_of(desk.run(*asked, "nobody/knows"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--since"),
        (("--since", "1h", "--resume", "x"), "leave the rest out"),
        (("--resume", "x", "--dry-run"), "dry run"),
        (("--since", "1h", "--status", "lost"), "--status"),
    ],
)
def test_misuse_is_told(desk: Desk, arguments: tuple[str, ...], says: str) -> None:
    done = desk.run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_what_is_no_time_or_no_replay_is_one_line(desk: Desk) -> None:
    assert "soon" in error_of(desk.run("--since", "soon"))
    assert "no replay nobody is known" in error_of(desk.run("--resume", "nobody"))


def test_ctrl_c_tells_how_to_go_on_and_nothing_comes_twice(desk: Desk, spawn: Spawn) -> None:
    child = spawn(desk.command("--since", "1h", "--rate", "5"))
    child.await_output("replay ")
    eventually(lambda: len(desk.replayed()) >= 2)
    child.process.send_signal(signal.SIGINT)
    assert child.wait() == 130
    name = name_of(child.output)
    assert f"go on with: sluice replay --resume {name}" in child.output
    [listed] = desk.told("list")
    assert (listed["name"], listed["finished"]) == (name, 0)
    assert listed["replayed"] == len(desk.replayed()) < 6
    assert "last step" in desk.run("list").stdout
    told = desk.told("--resume", name)
    assert (told["matched"], told["replayed"]) == (6, 6)
    assert desk.replayed() == [f"r{number}" for number in range(6)]
    again = desk.told("--resume", name)
    assert again == told
    seen = desk.run("list").stdout
    assert "finished" in seen
    assert "100%" in seen


def test_a_rate_is_kept(desk: Desk) -> None:
    began = clock.monotonic()
    desk.run("--since", "1h", "--rate", "5")
    assert clock.monotonic() - began >= 5 / 5


def test_a_replay_waits_while_much_waits(desk: Desk, spawn: Spawn) -> None:
    parked = {str(number): "x" for number in range(MAX_WAITING)}
    desk.client.hset(NAMES.parked, mapping=parked)
    child = spawn(desk.command("--since", "1h"))
    child.await_output("replay ")
    clock.sleep(0.3)
    assert desk.replayed() == []
    desk.client.hdel(NAMES.parked, "0")
    assert child.wait() == 0
    assert len(desk.replayed()) == 6


def test_a_lost_redis_tells_how_to_go_on(
    tmp_path: Path, own_redis: EmbeddedRedis, spawn: Spawn
) -> None:
    with redis.Redis.from_url(own_redis.url, protocol=2) as client:
        desk = Desk(tmp_path, own_redis.url, client)
        child = spawn(desk.command("--since", "1h", "--rate", "2"))
        child.await_output("replay ")
        eventually(desk.replayed)
        own_redis.kill()
        assert child.wait() == 1
        name = name_of(child.output)
        assert child.output.splitlines()[-1].endswith(f"sluice replay --resume {name}")
        own_redis.start()
        assert desk.told("--resume", name)["replayed"] == 6
        assert desk.replayed() == [f"r{number}" for number in range(6)]


def test_a_terminal_gets_a_bar_on_stderr(desk: Desk) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            desk.command("--since", "1h", "--json"),
            stderr=theirs,
            stdout=subprocess.PIPE,
            check=True,
            timeout=30,
            env={**os.environ, "TERM": "xterm"},
        )
        seen = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "100%" in seen
    assert "6 replayed" in seen
    assert json.loads(done.stdout)["replayed"] == 6
