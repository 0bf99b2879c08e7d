"""The ladder on the command line: listed, promoted, and in view of `show`, `status` and `tail`."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.climbing import House, climbing
from tests.cli.command import SLUICE

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def running(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with climbing(redis_binary, tmp_path_factory.mktemp("ladder")) as made:
        yield made


@pytest.fixture
def house(running: House) -> Iterator[House]:
    """Give the house with nobody on its ladder."""
    yield running
    running.run("cancel", "--status", "retrying", "--yes")


def test_the_ladder_is_listed_rung_by_rung(house: House) -> None:
    first, second, gone = house.climb_in_turn("away", "away", "gone")
    listed = house.lines("ladder")
    assert [(one["id"], one["rung"], one["cause"]) for one in listed] == [
        (first, 60, "overloaded"),
        (second, 60, "overloaded"),
        (gone, 60, "network"),
    ]
    assert (listed[0]["attempts"], listed[0]["climbed"], listed[0]["leg"]) == (1, [60], 2)
    assert abs(listed[0]["due"] - listed[0]["created"] - 60) < 5
    seen = house.run("ladder").stdout
    assert all(words in seen for words in (first, "1 min", "due in", "overloaded", "3 on 1 min"))


def test_the_list_is_filtered_and_goes_on_where_it_ended(house: House) -> None:
    _, second, third, gone = house.climb_in_turn("away", "away", "away", "gone")
    assert [one["id"] for one in house.lines("ladder", "--model", "go*")] == [gone]
    assert house.lines("ladder", "--cause", "timeout") == []
    assert house.run("ladder", "--rung", "600").returncode == 3
    page = house.run("ladder", "--limit", "2").stdout
    assert second in page
    assert third not in page
    place = page.rpartition("--after ")[2].strip()
    assert [one["id"] for one in house.lines("ladder", "--after", place)] == [third, gone]
    assert house.run("ladder", "--after", "nowhere").returncode == 1


def test_who_is_promoted_goes_on_now_and_climbs_to_the_next_rung(house: House) -> None:
    first, second = house.climb(2)
    done = house.run("promote", first, "nobody")
    assert (done.returncode, done.stdout) == (0, "1 promoted; 1 were on no rung\n")
    house.until(first, "rung", "600")
    assert house.field(second, "rung") == "60"
    assert house.run("promote", "nobody").returncode == 1


def test_the_ladder_is_promoted_by_filter_or_as_a_whole(house: House) -> None:
    ids, (gone,) = house.climb(2), house.climb(model="gone")
    would = house.run("promote", "--all", "--dry-run").stdout
    assert "3 would be promoted" in would
    assert house.field(ids[0], "rung") == "60"
    assert house.lines("promote", "--model", "gone") == [{"promoted": 1, "not_there": 0}]
    house.until(gone, "rung", "600")
    assert house.run("promote", "--rung", "60", "--rate", "50").stdout == "2 promoted\n"
    for request_id in ids:
        house.until(request_id, "rung", "600")
    nobody = house.run("promote", "--rung", "60")
    assert (nobody.returncode, nobody.stderr) == (
        3,
        "sluice: nobody who is meant is on the ladder\n",
    )


@pytest.mark.parametrize("arguments", [(), ("a1", "--all"), ("a1", "--model", "m")])
def test_what_leaves_in_the_dark_who_is_meant_is_misuse(
    house: House, arguments: tuple[str, ...]
) -> None:
    assert house.run("promote", *arguments).returncode == 2


def test_show_tells_where_on_the_ladder_a_request_is(house: House) -> None:
    (one,) = house.climb()
    seen = house.run("show", one).stdout
    assert all(words in seen for words in ("retrying", "rung 1 min, goes on in", "rung=60"))
    (told,) = house.lines("show", one)
    assert (told["rung"], told["leg"], told["attempts"]) == (60, 2, 1)
    assert told["due"] > told["created"] + 59


def test_status_tells_how_the_rungs_stand(house: House) -> None:
    one, _ = house.climb(2)
    house.run("promote", one)
    house.until(one, "rung", "600")
    (told,) = house.lines("status")
    first, second = told["ladder"]
    assert (first["rung"], first["count"], second["rung"], second["count"]) == (60, 1, 600, 1)
    assert 0 < first["next_due_s"] <= 60
    assert abs(first["next_due_s"] + first["oldest_s"] - 60) < 0.01
    seen = house.run("status").stdout
    assert all(words in seen for words in ("ladder: 2", "1 min", "10 min", "next due"))
    house.run("cancel", "--status", "retrying", "--yes")
    assert "ladder: nobody waits on it" in house.run("status").stdout


def test_tail_tells_each_climb(house: House) -> None:
    where = ("--config", str(house.whole.config), "--redis-url", house.whole.redis.url)
    tail = house.whole.nursery.spawn([*SLUICE, "tail", "--json", *where], name="tail")
    while '"rung:60"' not in tail.output:
        house.climb()
    tail.process.send_signal(signal.SIGINT)
    assert tail.wait() == 0
    moves = [json.loads(line) for line in tail.output.splitlines()]
    climb = next(move for move in moves if move["stream"] == "rung:60")
    assert (climb["status"], climb["cause"], climb["attempts"]) == ("retrying", "overloaded", 1)
