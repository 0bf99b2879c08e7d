"""`sluice cancel`: named requests and those that a filter admits, straight over Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.climbing import House, climbing

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def house(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with climbing(redis_binary, tmp_path_factory.mktemp("cancel")) as made:
        yield made


def test_named_requests_are_cancelled_wherever_they_are(house: House) -> None:
    house.put("running", "one")
    house.until("running", "status", "running")
    house.put("waiting", "one")
    house.until("waiting", "status", "waiting")
    ids = ("running", "waiting", *house.climb())
    done = house.run("cancel", *ids)
    assert (done.returncode, done.stdout) == (0, "3 cancelled\n")
    for request_id in ids:
        house.until(request_id, "status", "cancelled")
    again = house.run("cancel", *ids)
    assert (again.returncode, again.stdout) == (0, "0 cancelled; 3 had ended before\n")


def test_an_unknown_name_is_told_and_the_others_are_cancelled(house: House) -> None:
    (one,) = house.climb()
    told = house.lines("cancel", one, "nobody")
    assert told == [{"id": one, "state": "cancelled"}, {"id": "nobody", "state": "unknown"}]
    done = house.run("cancel", "nobody")
    assert done.returncode == 1
    assert "no request nobody is known" in done.stderr


def test_a_filter_cancels_who_waits_and_who_climbs_and_nobody_else(house: House) -> None:
    house.put("runs", "one", tenant="acme")
    house.until("runs", "status", "running")
    house.put("w1", "one", tenant="acme")
    house.put("w2", "one", tenant="beta")
    house.until("w1", "status", "waiting")
    house.until("w2", "status", "waiting")
    (away,), (gone,) = house.climb(), house.climb(model="gone")

    would = house.lines("cancel", "--status", "waiting", "--dry-run")
    assert {(one["id"], one["status"], one["tenant"]) for one in would} == {
        ("w1", "waiting", "acme"),
        ("w2", "waiting", "beta"),
    }
    seen = house.run("cancel", "--model", "*", "--dry-run").stdout
    assert all(words in seen for words in ("w1", away, gone, "retrying", "4 would be cancelled"))
    assert "runs" not in seen
    assert house.field("w1", "status") == "waiting"

    # A process that nobody sits before is not asked.
    refused = house.run("cancel", "--tenant", "acme")
    assert refused.returncode == 2
    assert "say --yes" in refused.stderr
    assert house.lines("cancel", "--tenant", "acme", "--yes") == [
        {"id": "w1", "state": "cancelled"}
    ]
    assert house.lines("cancel", "--model", "g*", "--status", "retrying", "-y") == [
        {"id": gone, "state": "cancelled"}
    ]
    assert house.run("cancel", "--since", "1h", "--yes").stdout == "2 cancelled\n"
    for request_id in ("w1", "w2", away, gone):
        house.until(request_id, "status", "cancelled")
    assert house.field("runs", "status") == "running"
    house.run("cancel", "runs")
    nobody = house.run("cancel", "--model", "one", "--status", "waiting")
    assert (nobody.returncode, nobody.stderr) == (3, "sluice: no request matches\n")


@pytest.mark.parametrize(
    "arguments",
    [(), ("r1", "--model", "m"), ("r1", "--dry-run"), ("--since", "soon"), ("--status", "running")],
)
def test_what_leaves_in_the_dark_who_is_meant_is_misuse(
    house: House, arguments: tuple[str, ...]
) -> None:
    assert house.run("cancel", *arguments).returncode == 2


def test_many_are_cancelled_in_one_go(house: House) -> None:
    ids = house.climb(250)
    assert house.run("cancel", "--model", "away", "--yes").stdout == "250 cancelled\n"
    for request_id in ids:
        house.until(request_id, "status", "cancelled")
