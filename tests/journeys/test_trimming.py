"""What has ended is kept for its time and to its number, behind every group, and not longer."""

import pytest

from tests.house_of_sluice import House, requests
from tests.journeys.conftest import BuildHouse
from tests.reckoning import Reckoning, entries
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_WORKERS = {"liveness_s": 1, "scan_s": 0.04}


def _held_by(house: House, stream: str) -> str:
    _, health = house.ask("GET", "/health/full")
    streams = {row["name"]: row for row in health["streams"]}  # type: ignore[attr-defined]
    return str(streams[stream].get("held_by", ""))


def test_the_kept_ends_are_trimmed_to_their_number_behind_a_users_group(
    build_house: BuildHouse,
) -> None:
    house = build_house(workers=_WORKERS, retention={"max_entries": 30})
    house.start()
    done, lane = house.names.done, house.names.requests["default"]
    house.client.xgroup_create(done, "ledger", "0", mkstream=True)
    house.xadd(requests(100))
    # The lane has no reader but ours, and is trimmed; `done` waits for the ledger.
    eventually(lambda: house.client.xlen(done) == 100, what="all answers")
    eventually(lambda: house.client.xlen(lane) <= 30, what="the trimming of the requests")
    assert house.client.xlen(done) == 100
    assert eventually(lambda: _held_by(house, "done"), what="the name of who holds") == "ledger"
    assert _held_by(house, "requests:default") == ""
    house.client.xreadgroup("ledger", "me", {done: ">"}, count=60)
    read = [entry for entry, _ in entries(house.client, done)][:60]
    house.client.xack(done, "ledger", *read[:20])
    eventually(lambda: house.client.xlen(done) == 80, what="the trimming behind what is pending")
    assert entries(house.client, done)[0][0] == read[20]
    house.client.xack(done, "ledger", *read[20:])
    house.client.xreadgroup("ledger", "me", {done: ">"}, count=100, noack=True)
    eventually(lambda: house.client.xlen(done) == 30, what="the trimming to the number")
    assert _held_by(house, "done") == ""
    status, health = house.ask("GET", "/health/full")
    assert (status, health["status"]) == (200, "ok")


def test_age_trims_what_has_ended_and_nothing_that_has_not(build_house: BuildHouse) -> None:
    house = build_house(workers=_WORKERS, retention={"events_s": 2, "replies_s": 2, "dead_s": 2})
    house.start()
    reckoning = Reckoning(house.client, house.names)
    house.xadd([*requests(20), *requests(5, "nobody", "dead")])
    house.xadd(requests(3, "sim/long:ttft_ms=20000", "long"))
    ids = [f"r{number}" for number in range(20)]
    reckoning.await_end(ids)
    assert house.client.xlen(house.names.dead) == 5
    ends = [house.names.done, house.names.dead, house.names.requests["default"]]
    eventually(lambda: not any(map(house.client.xlen, ends)), what="the end of their time")
    eventually(lambda: not house.client.exists(house.names.record("r0")), what="that of records")
    # Its entry in the lane is gone, its record and its event are not.
    assert reckoning.statuses([f"long{number}" for number in range(3)]) == {"running": 3}
    assert house.ask("GET", "/chat/long0")[1]["status"] == "running"


def test_callback_streams_are_capped(build_house: BuildHouse) -> None:
    house = build_house(workers=_WORKERS, retention={"reply_to_max_entries": 100})
    house.start_simulated()
    house.start_worker()
    house.xadd(requests(600, callback_queue="answers"))
    reckoning = Reckoning(house.client, house.names)
    reckoning.check([f"r{number}" for number in range(600)])
    # Near the cap: Redis trims whole nodes of a hundred entries.
    assert 100 <= house.client.xlen("answers") <= 300
