"""The flow as data agrees with the hops that there are."""

import inspect

import pytest

from pipeline.flow import BY_NAME, HOPS, LAST, HopSpec
from workers.call import call
from workers.gate import gate
from workers.respond import respond
from workers.route import route

ENDS = {"done", "dead", "waiting room", "ladder"}
FUNCTIONS = {function.__name__: function for function in (route, gate, call, respond)}


def ways(hop: HopSpec) -> set[str]:
    return {hop.onward, *(side.to for side in hop.sides)}


@pytest.mark.parametrize("hop", HOPS, ids=lambda hop: hop.name)
def test_every_way_leads_to_a_hop_or_out_of_the_flow(hop: HopSpec) -> None:
    assert ways(hop) <= BY_NAME.keys() | ENDS


def test_each_hop_is_an_async_function_of_its_name() -> None:
    assert FUNCTIONS.keys() == BY_NAME.keys()
    assert all(inspect.iscoroutinefunction(function) for function in FUNCTIONS.values())


@pytest.mark.parametrize("name", BY_NAME)
def test_each_hop_tells_what_comes_in_what_goes_out_and_why_twice_is_safe(name: str) -> None:
    told = inspect.getdoc(FUNCTIONS[name]) or ""
    assert all(f"\n{word}: " in told for word in ("In", "Out", "Twice"))


def test_all_ways_onward_end_in_done() -> None:
    hop, seen = HOPS[0], [HOPS[0].name]
    while hop.onward in BY_NAME:
        hop = BY_NAME[hop.onward]
        assert hop.name not in seen
        seen.append(hop.name)
    assert hop.onward == "done"
    assert seen == [each.name for each in HOPS]
    assert hop.name == LAST


def test_only_the_call_takes_long() -> None:
    assert [hop.name for hop in HOPS if hop.long] == ["call"]
