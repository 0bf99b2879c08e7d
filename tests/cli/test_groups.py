"""`sluice groups` on a Redis in which requests have ended."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import clock
from pipeline import event as events
from pipeline.cli import entry_ids, groups
from pipeline.cli.options import Where
from pipeline.errors import BadRequest
from tests.cli.command import SLUICE, error_of, sluice
from tests.streams import rig
from tests.streams.pasts import past
from tests.streams.rig import NAMES, Client

_DAY_MS = 86_400_000


class Desk:
    """The command on the shared Redis, on whose `done` stand five events."""

    def __init__(self, folder: Path, redis_url: str, client: Client) -> None:
        self.folder = folder
        self.client = client
        self.where = ("--redis-url", redis_url, "--namespace", NAMES.prefix)
        self.place = Where(redis_url=redis_url, namespace=NAMES.prefix)
        for number in range(5):
            past(client, f"r{number}")
        client.xgroup_create(NAMES.done, "callback", "0")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return sluice(self.folder, "groups", *arguments, *self.where)

    def told(self, *arguments: str) -> Any:
        """Give what it tells as JSON."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def read(self, group: str, stream: str = NAMES.done) -> list[str]:
        """Read what a group has to read."""
        got = self.client.xreadgroup(group, "me", {stream: ">"})
        rows = got[0][1] if got else []
        return [events.decode(fields[b"event"]).id for _, fields in rows]


@pytest.fixture
def desk(tmp_path: Path, redis_url: str) -> Iterator[Desk]:
    """Give a desk."""
    with rig.connect(redis_url) as client:
        yield Desk(tmp_path, redis_url, client)


def test_groups_are_listed_with_what_they_have_to_do(desk: Desk) -> None:
    desk.client.xgroup_create(NAMES.done, "ledger", "0")
    desk.client.xreadgroup("ledger", "me", {NAMES.done: ">"}, count=2)
    desk.client.xgroup_create(NAMES.hop("gate"), "gate", "0", mkstream=True)
    desk.client.xgroup_create(NAMES.hop("gate"), "strange", "0")
    callback, ledger, strange = desk.told("list")
    assert (callback["group"], callback["ours"], callback["unread"]) == ("callback", True, 5)
    assert (ledger["stream"], ledger["group"], ledger["ours"]) == ("done", "ledger", False)
    assert (ledger["consumers"], ledger["pending"], ledger["unread"]) == (1, 2, 3)
    assert 0 < ledger["oldest_unread_s"] < 60
    assert ledger["holds_back"] == 0
    assert (strange["stream"], strange["group"]) == ("gate", "strange")
    seen = desk.run().stdout
    for words in ("ledger", "Sluice's own", "holds back"):
        assert words in seen


def test_nothing_there_is_told(tmp_path: Path, redis_url: str) -> None:
    done = sluice(tmp_path, "groups", "--redis-url", redis_url)
    assert done.stdout == "no group is there yet\n"


def test_a_group_is_made_from_any_place_on(desk: Desk) -> None:
    ids = [entry.decode() for entry, _ in desk.client.xrange(NAMES.done)]
    assert desk.told("create", "done", "all") == {
        "stream": "done", "group": "all", "after": "0-0", "unread": 5, "pending": 0,
    }  # fmt: skip
    groups.create(desk.place, f"{NAMES.prefix}:done", "new", "end")
    groups.create(desk.place, "done", "some", ids[3])
    groups.create(desk.place, "done", "late", "1h")
    groups.create(desk.place, "high", "none", "start")
    groups.create(desk.place, "requests:default", "asked", "start")
    found = {row["group"]: (row["stream"], row["unread"]) for row in desk.told()}
    assert found == {
        "all": ("done", 5),
        "asked": ("requests:default", 5),
        "callback": ("done", 5),
        "late": ("done", 5),
        "new": ("done", 0),
        "none": ("requests:high", 0),
        "some": ("done", 2),
    }
    assert desk.read("some") == ["r3", "r4"]


def test_a_group_is_reset_and_reads_again(desk: Desk) -> None:
    desk.run("create", "done", "ledger")
    everything = desk.read("ledger")
    assert len(everything) == 5
    ids = [entry.decode() for entry, _ in desk.client.xrange(NAMES.done)]
    desk.client.xack(NAMES.done, "ledger", *ids[:3])
    told = desk.run("reset", "ledger", "--to", "start").stdout
    assert "5 entries" in told
    assert "2 stay pending" in told
    assert desk.read("ledger") == everything
    groups.reset(desk.place, "done", "ledger", ids[2])
    assert desk.read("ledger") == everything[2:]
    assert desk.told("reset", "ledger", "--to", "end")["unread"] == 0
    assert desk.read("ledger") == []
    a_minute_ago, soon = str(clock.now() - 60), clock.rfc3339(clock.now() + 60)
    assert groups.reset(desk.place, "done", "ledger", a_minute_ago).unread == 5
    assert groups.reset(desk.place, "done", "ledger", soon).unread == 0


def test_sluices_own_groups_stay_as_they_are(desk: Desk) -> None:
    desk.client.xgroup_create(NAMES.hop("gate"), "gate", "0", mkstream=True)
    with pytest.raises(BadRequest, match="is Sluice's own group"):
        groups.create(desk.place, "done", "route", "start")
    for stream, group in (("done", "callback"), ("gate", "gate")):
        with pytest.raises(BadRequest, match="is Sluice's own group"):
            groups.reset(desk.place, stream, group, "start")
    assert "delivers results" in error_of(desk.run("release", "callback", "--yes"))


def test_what_cannot_be_done_is_one_line(desk: Desk) -> None:
    desk.run("create", "done", "ledger")
    for stream, says in (
        ("done", "already"), ("nowhere", "there is no stream nowhere"), ("gate", "keeps nothing"),
    ):  # fmt: skip
        with pytest.raises(BadRequest, match=says):
            groups.create(desk.place, stream, "ledger", "start")
    assert "no group nobody" in error_of(desk.run("reset", "nobody", "--to", "end"))
    assert "or `start`, `end`" in error_of(desk.run("reset", "ledger", "--to", "soon"))


def test_a_group_left_behind_is_released_by_who_is_sure(desk: Desk) -> None:
    now_ms = int(clock.now() * 1000)
    desk.client.delete(NAMES.done)
    for number in range(4):
        payload = events.encode(rig.make_event(f"old{number}"))
        desk.client.xadd(NAMES.done, {"event": payload}, f"{now_ms - 2 * _DAY_MS}-{number}")
    desk.run("create", "done", "ledger")
    desk.client.xreadgroup("ledger", "me", {NAMES.done: ">"}, count=1)
    past(desk.client, "young")
    [ledger] = desk.told()
    assert (ledger["unread"], ledger["pending"], ledger["holds_back"]) == (4, 1, 4)
    unsure = error_of(desk.run("release", "ledger"))
    assert "4 entries to read and 1 pending with 1 consumers; it holds back 4" in unsure
    assert "--yes" in unsure
    told = desk.run("release", "ledger", "--yes").stdout
    assert told.startswith("ledger on done is released")
    assert "held back 4" in told
    assert desk.told() == []


def test_what_is_too_many_is_held_back_too(desk: Desk) -> None:
    desk.run("create", "done", "ledger")
    desk.client.xreadgroup("ledger", "me", {NAMES.done: ">"}, count=1, noack=True)
    (desk.folder / "sluice.yaml").write_text("retention: {max_entries: 2}\n")
    found = {row["group"]: row["holds_back"] for row in desk.told()}
    assert found == {"callback": 3, "ledger": 2}


def test_who_is_asked_may_say_no(desk: Desk) -> None:
    desk.run("create", "done", "ledger")
    for answer, left in ((b"n\n", True), (b"y\n", False)):
        ours, theirs = pty.openpty()
        try:
            os.write(ours, answer)
            command = [*SLUICE, "groups", "release", "ledger", *desk.where]
            done = subprocess.run(
                command, stdin=theirs, capture_output=True, text=True, timeout=30, check=False
            )
        finally:
            os.close(ours)
            os.close(theirs)
        assert "Release it?" in done.stderr
        assert ("ledger" in {row["group"] for row in desk.told()}) == left


def test_an_id_and_the_one_before_it_are_neighbours() -> None:
    for one, other in (("5-0", "5-1"), ("4-18446744073709551615", "5-0"), ("7-9", "7-10")):
        assert entry_ids.following(one) == other
        assert entry_ids.preceding(other) == one
    assert entry_ids.preceding("0-0") == "0-0"
    assert sorted(["10-0", "9-5", "9-10"], key=entry_ids.order) == ["9-5", "9-10", "10-0"]


def test_what_is_no_place_is_refused(redis_url: str) -> None:
    with rig.connect(redis_url) as client, pytest.raises(BadRequest):
        entry_ids.before(client, NAMES, NAMES.done, "yesterday")
