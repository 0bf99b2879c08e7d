"""A provider that enforces limits of its own: its capacity is used up, and it has to refuse nobody.

What a provider saves up while nobody calls is used before anything is measured: from then on it
allows what its limit says and not one call more.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest

from tests.house_of_sluice import House, requests
from tests.journeys.conftest import BuildHouse
from tests.waiting import eventually

pytestmark = pytest.mark.journey

_KEY = "sk-the-only-one"
_PROCESSES = 3
#: The share that is used even where other tests take the processors: what it is otherwise the
#: benchmark of the same name tells.
_BUSY = 0.6


class Used(NamedTuple):
    """What was made of a provider's capacity: the share of it, and the calls it refused."""

    share: float
    called: int
    refused: int


def _build(build_house: BuildHouse, options: str, limits: Mapping[str, int]) -> House:
    """Build a house of three workers whose model `busy` has a provider with such options."""
    name = f"busy:{options}"
    house = build_house(
        providers={"strict": {"keys": [_KEY]}},
        models={"busy": {"deployments": [{"provider": "strict", "model": name, "limits": limits}]}},
    )
    house.start_simulated()
    workers = [house.spawn_worker() for _ in range(_PROCESSES)]
    for worker in workers:
        house.await_worker(worker)
    return house


def _use_up(house: House, options: str, tokens: int) -> None:
    """Call until the provider refuses, as somebody else with the same key."""
    url = f"http://127.0.0.1:{house.simulated_port}/v1/chat/completions"
    body = {
        "model": f"busy:{options}", "max_tokens": tokens,
        "messages": [{"role": "user", "content": "hi"}],
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {_KEY}", "X-Simulate": "ttft_ms=0"}

    def call_on(_: int) -> None:
        with httpx.Client(headers=headers, timeout=30) as client:
            while client.post(url, json=body).status_code == 200:
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call_on, range(8)))


def _measure(house: House, seconds: float, per_s: float) -> Used:
    """Compare the calls of so many seconds to those that the provider would have taken."""
    begin, began, refused = _counts(house)
    time.sleep(seconds)
    end, started, more = _counts(house)
    taken, called = (end - begin) * per_s, started - began
    return Used(called / taken, called, more - refused)


def _counts(house: House) -> tuple[float, int, int]:
    """Give the time, the calls that were answered so far and those that were refused."""
    started, total = house.upstream.number("started"), house.upstream.number("total")
    return time.monotonic(), started, total - started


def _await_end_of_blast(house: House) -> None:
    """Wait until calls were refused, and none any more for a second."""
    last, since = 0, time.monotonic()

    def is_over() -> bool:
        nonlocal last, since
        before, last = last, _counts(house)[2]
        if last > before:
            since = time.monotonic()
        return last > 0 and time.monotonic() - since > 1.0

    eventually(is_over, 15.0, "the end of the blast")


def test_requests_per_minute_are_used_up(build_house: BuildHouse) -> None:
    rpm, seconds = 2400, 5.0
    options = f"rpm={rpm},tokens=2"
    house = _build(build_house, options, {"rpm": rpm})
    _use_up(house, options, 2)
    house.xadd(requests(int(rpm / 60 * (seconds + 10)), "busy"))
    house.upstream.forget()
    eventually(lambda: house.upstream.number("started") > rpm / 60, what="the first second's calls")
    used = _measure(house, seconds, rpm / 60)
    assert used.share >= _BUSY, used
    assert used.refused <= used.called / 100, used


@pytest.mark.slow
def test_an_unknown_limit_is_found_at_once_from_a_blast_of_calls(build_house: BuildHouse) -> None:
    places, call_s = 20, 0.5
    house = _build(build_house, f"concurrency={places},ttft_ms={call_s * 1000:.0f},tokens=2", {})
    house.xadd(requests(400, "busy"))
    _await_end_of_blast(house)
    house.xadd(requests(400, "busy", "more"))
    used = _measure(house, 5.0, places / call_s)
    assert used.share >= _BUSY, used
    assert used.refused <= used.called / 100, used
    assert house.client.xlen(house.names.hop("dead")) == 0
