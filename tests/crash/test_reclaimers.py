"""Several workers claim from the dead at once, past live long calls, and take nothing twice."""

import threading

import pytest

from pipeline.flow import HOPS, ROUTE
from pipeline.names import LANES
from pipeline.streams.scripts import CLAIM
from tests.crash.conftest import BuildHouse
from tests.house_of_sluice import House, kill_family, requests
from tests.reckoning import Reckoning, more_than_one
from tests.waiting import eventually

pytestmark = pytest.mark.crash


def test_several_reclaimers_run_each_orphan_once(house: House, reckoning: Reckoning) -> None:
    house.start_simulated()
    workers = [house.spawn_worker() for _ in range(4)]
    names = [house.await_worker(worker) for worker in workers]
    events = requests(200, "sim/slow:ttft_ms=1500")
    ids = {str(event["request_id"]) for event in events}
    for at in range(0, len(events), 10):
        house.xadd(events[at : at + 10])
    eventually(lambda: house.upstream.number("active") == len(ids), what="all in mid-call")
    doomed = max(range(4), key=lambda n: len(house.pending("call", names[n])))
    kill_family(workers[doomed])
    held = house.pending("call", names[doomed])
    assert len(held) > 20
    reckoning.check(ids)
    assert more_than_one(house.upstream.calls(), ids) == held
    assert max(house.upstream.calls().values()) == 2
    assert house.counter("claimed") == len(held)


@pytest.mark.slow
def test_an_orphan_is_found_behind_many_live_calls(build_house: BuildHouse) -> None:
    house = build_house(workers={"calls": 400, "liveness_s": 0.5, "scan_s": 0.1})
    reckoning = Reckoning(house.client, house.names)
    house.start_simulated()
    _, busy = house.start_worker()
    live = requests(400, "sim/long:ttft_ms=10000", "live")
    house.xadd(live)
    eventually(lambda: house.upstream.number("active") == 400, what="a full worker")
    doomed, name = house.start_worker()
    house.xadd(requests(1, "sim/slow:ttft_ms=3000", "orphan"))
    eventually(lambda: house.pending("call", name) == {"orphan0"}, what="the orphan in mid-call")
    house.start_worker()
    kill_family(doomed)
    # Long before any of the live calls ends.
    reckoning.await_end(["orphan0"], 5.0)
    assert len(house.pending("call", busy)) == 400
    ids = [str(event["request_id"]) for event in live]
    reckoning.check([*ids, "orphan0"])
    assert more_than_one(house.upstream.calls(), [*ids, "orphan0"]) == {"orphan0"}


@pytest.mark.slow
def test_an_idle_house_recovers_what_a_dead_worker_left(house: House, reckoning: Reckoning) -> None:
    house.start_simulated()
    doomed, _ = house.start_worker()
    house.start_worker()
    house.xadd(requests(2, "sim/slow:ttft_ms=800"))
    eventually(lambda: house.upstream.number("active") == 2, what="both in mid-call")
    kill_family(doomed)
    reckoning.check(["r0", "r1"])


def test_claims_at_the_same_moment_never_give_an_entry_twice(house: House) -> None:
    """The claiming script itself, asked by eight reclaimers side by side."""
    client, names = house.client, house.names
    key = names.hop("call")
    client.xgroup_create(key, "call", "0", mkstream=True)
    for number in range(1000):
        client.xadd(key, {"event": str(number)})
    for ghost in ("live", "dead-1", "dead-2"):
        client.sadd(names.workers, ghost)
        client.xreadgroup("call", ghost, {key: ">"}, count=300)
    client.set(names.worker("live"), "here")
    client.set(names.pulse, "1")
    taken: list[list[str]] = [[] for _ in range(8)]
    threads = [
        threading.Thread(target=_claim_all, args=(house, f"claimer-{n}", taken[n]))
        for n in range(8)
    ]
    for thread in threads:
        client.set(names.worker(f"claimer-{threads.index(thread)}"), "here")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = [entry for each in taken for entry in each]
    assert len(entries) == len(set(entries)) == 600
    assert client.xpending_range(key, "call", "-", "+", 1000, "live")
    assert {row["name"] for row in client.xinfo_consumers(key, "call")} >= {"live"}
    assert not client.sismember(names.workers, "dead-1")


def _claim_all(house: House, name: str, taken: list[str]) -> None:
    names = house.names
    streams = [(f"requests:{lane}", ROUTE) for lane in LANES]
    streams += [(hop.name, hop.name) for hop in HOPS if hop.name != ROUTE]
    arguments: list[str | int] = [names.prefix, name, 40, 0, 1, 0]
    arguments += [word for pair in streams for word in (*pair, 40)]
    while rows := house.client.eval(CLAIM.text, 1, names.prefix, *map(str, arguments))[0]:
        taken += [row[1] for row in rows]
