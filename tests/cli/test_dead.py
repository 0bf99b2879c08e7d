"""`sluice dead`, on the letters of a Redis beside which nothing runs."""

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pipeline.streams.dead.letter import Letter
from pipeline.streams.link import Link
from tests.cli.command import SLUICE, sluice
from tests.processes import Nursery
from tests.streams import rig
from tests.streams.graves import (
    bury,
    bury_malformed,
    lane_events,
    large_body,
    last_lane_event,
    record,
)  # fmt: skip
from tests.streams.rig import NAMES, Client

pytestmark = pytest.mark.anyio


class Ground:
    """A Redis with letters, and the command to be used on it."""

    def __init__(self, folder: Path, url: str, link: Link, client: Client) -> None:
        self.folder = folder
        self.where = ("--redis-url", url, "--namespace", NAMES.prefix)
        self.link = link
        self.client = client

    def dead(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `sluice dead`."""
        return sluice(self.folder, "dead", *arguments, *self.where, stdin=stdin)

    def at_terminal(self, terminal: int, *arguments: str) -> str:
        """Run it at a terminal; give what went to stdout, which is a file."""
        done = subprocess.run(
            [*SLUICE, "dead", *arguments, *self.where],
            stdin=terminal, stderr=terminal, stdout=subprocess.PIPE, text=True, check=True,
            timeout=60, env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        return done.stdout

    def lines(self, *arguments: str) -> list[dict[str, object]]:
        """Run it with --json."""
        return [json.loads(line) for line in self.dead(*arguments, "--json").stdout.splitlines()]

    async def bury(self, *request_ids: str, **changes: object) -> list[Letter]:
        dying = [rig.make_event(one, **changes) for one in request_ids]
        return await bury(self.link, self.client, *dying)

    def left(self) -> int:
        return int(self.client.xlen(NAMES.dead))


@pytest.fixture
async def ground(redis_url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Ground]:
    """Give a Redis without letters."""
    with rig.connect(redis_url) as client:
        async with rig.linked(redis_url) as link:
            yield Ground(tmp_path, redis_url, link, client)


async def test_letters_are_listed_as_a_table_and_as_json(ground: Ground) -> None:
    [one] = await ground.bury("r1", model="fast", tenant="acme")
    await ground.bury("r2", model="sim/x")
    seen = ground.dead("list")
    assert seen.returncode == 0
    for words in ("r1", "fast", "acme", "overloaded", one.entry, "2 of 2 dead letters"):
        assert words in seen.stdout
    told = ground.lines("list", "--model", "fa*", "--since", "1h")
    assert [(each["id"], each["letter"]) for each in told] == [("r1", one.entry)]
    first = ground.dead("list", "--limit", "1")
    assert f"1 of 2 dead letters; go on with --after {one.entry}" in first.stdout
    assert [each["id"] for each in ground.lines("list", "--after", one.entry)] == ["r2"]


async def test_what_matches_nothing_ends_with_3(ground: Ground) -> None:
    await ground.bury("r1")
    for arguments in (
        ("list", "--tenant", "nobody"),
        ("show", "nobody"),
        ("replay", "nobody"),
        ("replay", "--until", "1h"),
        ("edit", "nobody", "--set", "seed=1"),
        ("purge", "--cause", "bug", "--yes"),
    ):
        assert ground.dead(*arguments).returncode == 3, arguments
    assert ground.left() == 1


async def test_misuse_ends_with_2_and_does_nothing(ground: Ground) -> None:
    await ground.bury("r1")
    for arguments, words in (
        (("replay",), "say --all"),
        (("purge",), "say --all"),
        (("purge", "--all"), "say --yes"),
        (("replay", "r1", "--model", "m"), "--to-model"),
        (("list", "--since", "tomorrow"), "is no time"),
        (("edit", "r1"), "say what to change"),
        (("edit", "r1", "--set", "seed"), "is not FIELD=JSON"),
        (("edit", "r1", "--body", "nowhere.json"), "No such file"),
    ):
        done = ground.dead(*arguments)
        assert done.returncode == 2, done
        assert words in " ".join(done.stderr.replace("│", "").split())
    assert ground.left() == 1


async def test_a_letter_is_shown_with_its_error_and_body(ground: Ground) -> None:
    [letter] = await ground.bury("r1", tenant="acme", deltas=1)
    for reference in ("r1", letter.entry):
        seen = ground.dead("show", reference).stdout
        for words in (
            "The overloaded of r1",
            "acme",
            '{"model":"m"',
            "60 s, 600 s",
            "an id of its",
        ):
            assert words in seen
    told = json.loads(ground.dead("show", "r1", "--json").stdout)
    assert told["body"] == {"model": "m", "messages": []}
    assert told["letter"]["journal"][0]["hop"] == "route"


async def test_what_cannot_be_read_is_shown_and_purged(ground: Ground) -> None:
    ground.client.xadd(NAMES.dead, {"event": "?"}, "5-1")
    assert "unreadable" in ground.dead("list").stdout
    assert "malformed" in ground.dead("show", "5-1").stdout
    assert json.loads(ground.dead("show", "5-1", "--json").stdout)["body"] is None
    refused = ground.dead("replay", "5-1")
    assert refused.returncode == 1
    assert "can only be purged" in refused.stderr
    assert ground.dead("purge", "--cause", "unreadable", "--yes").returncode == 0
    assert ground.left() == 0


async def test_letters_are_replayed_by_filter_and_once(ground: Ground) -> None:
    await ground.bury("r1", "r2", model="a")
    await ground.bury("r3", model="b")
    before = len(lane_events(ground.client))
    done = ground.dead("replay", "--model", "a", "--rate", "100")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Done: 2 replayed" in done.stdout
    assert ground.left() == 1
    assert [event.id for _, event in lane_events(ground.client)[before:]] == ["r1", "r2"]
    assert ground.dead("replay", "--model", "a").returncode == 3
    again = ground.dead("replay", "r1")
    assert again.returncode == 3
    assert "there is no dead letter r1; that request is queued" in again.stderr


async def test_a_dry_run_shows_and_does_nothing(ground: Ground) -> None:
    await ground.bury("r1", "r2")
    malformed = await bury_malformed(ground.link, ground.client, b"[]")
    for command, word in (("replay", "replayed"), ("purge", "purged")):
        done = ground.dead(command, "--all", "--dry-run")
        assert done.returncode == 0
        assert f"3 dead letters would be {word}" in done.stdout
        assert (f"{malformed.entry} was malformed" in done.stderr) == (command == "replay")
    assert [each["id"] for each in ground.lines("purge", "r1", "--dry-run")] == ["r1"]
    assert ground.left() == 3


async def test_a_letter_is_replayed_to_another_model(ground: Ground) -> None:
    await ground.bury("r1", "r2")
    told = ground.lines("replay", "r1", "--to-model", "quality", "--set", "seed=1")
    assert [(each["id"], each["state"]) for each in told] == [("r1", "replayed")]
    _, event = last_lane_event(ground.client)
    assert (event.id, event.model) == ("r1", "quality")
    assert json.loads(bytes(event.body))["seed"] == 1
    assert ground.left() == 1


async def test_what_is_refused_is_told_and_ends_with_1(ground: Ground) -> None:
    await ground.bury("r1")
    [lost] = await bury(ground.link, ground.client, rig.make_event("r2"), body=large_body())
    ground.client.delete(NAMES.body("r2"))
    done = ground.dead("replay", "--all")
    assert done.returncode == 1
    assert f"the body of the letter {lost.entry} is no longer in Redis" in done.stderr
    assert "Done: 1 replayed, 1 refused" in done.stdout


async def test_a_letter_is_edited_and_replayed(ground: Ground) -> None:
    await ground.bury("r1")
    done = ground.dead(
        "edit", "r1", "--set", "model=quality", "--set", "temperature=0", "--set", "priority=3"
    )
    assert done.returncode == 0
    assert "Replay it: sluice dead replay r1" in done.stdout
    assert "edited" in ground.dead("show", "r1").stdout
    new = '{"messages":[{"role":"user","content":"new"}]}'
    done = ground.dead("edit", "r1", "--body", "-", "--replay", stdin=new)
    assert done.stdout == "r1 replayed\n"
    _, event = last_lane_event(ground.client, "high")
    assert event.model == "quality"
    assert json.loads(bytes(event.body)) == {**json.loads(new), "model": "quality"}
    assert len(json.loads(record(ground.client, "r1")["edits"])) == 2


async def test_an_edit_that_makes_no_request_is_one_line(ground: Ground) -> None:
    await ground.bury("r1")
    done = ground.dead("edit", "r1", "--set", "priority=99")
    assert done.returncode == 1
    assert done.stderr.startswith("sluice: What the edit makes is no request: `priority` is 99")


async def test_a_terminal_gets_a_question_and_a_bar_and_stdout_stays_clean(
    ground: Ground,
) -> None:
    await ground.bury("r1", "r2", "r3")
    terminal, its_end = os.openpty()
    try:
        os.write(terminal, b"y\n")
        for arguments, said in (
            (("replay", "r1", "--json"), '"state":"replayed"'),
            (("purge", "--all", "--json"), '{"purged":2,"gone":0}\n'),
        ):
            assert said in ground.at_terminal(its_end, *arguments)
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(terminal)
        os.close(its_end)
    assert "Purge 2 dead letters for good?" in shown
    assert "letters" in shown.partition("Purge")[0]
    assert ground.left() == 0


async def test_ctrl_c_leaves_what_was_done_done(ground: Ground, nursery: Nursery) -> None:
    await ground.bury(*(f"r{n}" for n in range(30)))
    before = len(lane_events(ground.client))
    arguments = [*SLUICE, "dead", "replay", "--all", "--rate", "5", *ground.where]
    replaying = nursery.spawn(arguments)
    await rig.until(lambda: ground.left() <= 28, "two letters are replayed")
    replaying.process.send_signal(signal.SIGINT)
    assert replaying.wait() == 130
    assert "Traceback" not in replaying.output
    assert "Interrupted: " in replaying.output
    assert "goes on with the rest" in replaying.output
    assert 0 < ground.left() <= 28
    assert ground.dead("replay", "--all").returncode == 0
    replayed = [event.id for _, event in lane_events(ground.client)[before:]]
    assert sorted(replayed) == sorted(f"r{n}" for n in range(30))


async def test_a_redis_that_does_not_answer_is_one_line(ground: Ground, free_port: int) -> None:
    url = f"redis://127.0.0.1:{free_port}/0"
    done = sluice(ground.folder, "dead", "list", "--redis-url", url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"sluice: Redis at {url}: ")
