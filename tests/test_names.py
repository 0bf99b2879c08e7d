"""The Redis names that others rely on, and the laws that keep them apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.names import LANES, MAX_PRIORITY, MIN_PRIORITY, Names, lane_of


def test_the_stable_names() -> None:
    names = Names("sluice")
    assert [names.requests[lane] for lane in LANES] == [
        "sluice:requests:high",
        "sluice:requests:default",
        "sluice:requests:low",
    ]
    assert [names.hop(hop) for hop in ("gate", "call", "respond")] == [
        "sluice:gate",
        "sluice:call",
        "sluice:respond",
    ]
    assert (names.done, names.dead) == ("sluice:done", "sluice:dead")
    assert names.record("r1") == "sluice:request:r1"
    assert names.reply("r1") == "sluice:reply:r1"


def all_names(names: Names, request_id: str) -> list[str]:
    fixed = [names.done, names.dead, names.parked, names.workers, names.gateways, names.counters]
    made = [names.record, names.reply, names.body, names.session, names.worker, names.inbox]
    return [
        *fixed,
        names.clock,
        *names.requests.values(),
        *(names.hop(hop) for hop in ("gate", "call", "respond")),
        *(make(request_id) for make in made),
    ]


@given(st.text(min_size=1, max_size=20))
def test_no_two_things_share_a_name(request_id: str) -> None:
    names = all_names(Names("sluice"), request_id)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("namespace", ["sluice", "{sluice}", "a:b"])
def test_all_names_stand_under_the_namespace(namespace: str) -> None:
    assert all(name.startswith(f"{namespace}:") for name in all_names(Names(namespace), "r1"))


def test_a_partition_has_names_of_its_own_and_shares_the_limits() -> None:
    whole, one, two = Names("s"), Names("s", 1), Names("s", 2)
    assert not set(all_names(one, "r")) & set(all_names(two, "r"))
    assert one.done == "s:1:done"
    assert whole.limits == one.limits == two.limits


@given(st.integers(MIN_PRIORITY, MAX_PRIORITY))
def test_the_sign_of_the_priority_is_the_lane(priority: int) -> None:
    assert lane_of(priority) == ("low", "default", "high")[(priority > 0) - (priority < 0) + 1]
