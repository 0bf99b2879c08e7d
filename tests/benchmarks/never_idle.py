"""How much of a provider's capacity three workers use, where it enforces limits of its own.

What a provider saves up while nobody calls is used before anything is measured: from then on it
allows what its limit says and not one call more.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx
import msgspec

from pipeline.embedded.redis_server import find_redis_server
from tests.benchmarks.figures import Figure
from tests.benchmarks.ground import Bench
from tests.house_of_sluice import House, Section, requests
from tests.waiting import eventually

_KEY: Final = "sk-the-only-one"
_PROCESSES: Final = 3


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that the provider enforces, and whether ours says so."""

    what: str
    options: str
    limits: Mapping[str, int]
    #: Tokens of each answer.
    tokens: int = 2
    #: Calls that the provider allows in a second.
    per_s: float
    #: Calls begun before it is measured, and for how many seconds.
    warm: int
    seconds: int = 15
    #: The aim: none where the limit is not configured.
    at_least: float | None = 97.0
    #: Whether what the provider has saved up can be used up beforehand.
    saves_up: bool = True


CASES: Final = (
    Case(what="1,200 requests a minute", options="rpm=1200,tokens=2", limits={"rpm": 1200},
         per_s=20, warm=40),
    Case(what="60,000 tokens a minute", options="tpm=60000,tokens=49", limits={"tpm": 60_000},
         tokens=49, per_s=20, warm=40),
    Case(what="40 calls of 1 s at once", options="concurrency=40,ttft_ms=1000,tokens=2",
         limits={"concurrency": 40}, per_s=40, warm=80, saves_up=False),
    Case(what="1,200 requests a minute, told by headers only", options="rpm=1200,tokens=2",
         limits={}, per_s=20, warm=300, at_least=None),
    Case(what="20 calls of 0.5 s at once, told by nobody",
         options="concurrency=20,ttft_ms=500,tokens=2", limits={}, per_s=40, warm=400,
         at_least=None, saves_up=False),
)  # fmt: skip


def run(bench: Bench) -> list[Figure]:
    """Measure each case in a house of its own."""
    figures: list[Figure] = []
    for number, case in enumerate(CASES):
        directory = bench.directory / str(number)
        directory.mkdir()
        figures += _measure(case, directory, bench.size(case.seconds, 5))
    return figures


def _measure(case: Case, directory: Path, seconds: int) -> list[Figure]:
    model = f"busy:{case.options}"
    deployment = {"provider": "strict", "model": model, "limits": case.limits}
    sections: dict[str, Section] = {
        "providers": {"strict": {"keys": [_KEY]}},
        "models": {"busy": {"deployments": [deployment]}},
    }
    with House(directory, find_redis_server(), {}, **sections) as house:
        house.start_simulated()
        for worker in [house.spawn_worker() for _ in range(_PROCESSES)]:
            house.await_worker(worker)
        if case.saves_up:
            _use_up(house, model, case.tokens)
        house.xadd(
            requests(case.warm + int(case.per_s * (seconds + 10)), "busy", max_tokens=case.tokens)
        )
        house.upstream.forget()
        eventually(
            lambda: house.upstream.number("started") > case.warm, 60.0, "what it is warmed up by"
        )
        share, refused = _watch(house, case.per_s, lambda: time.sleep(seconds))
    return [
        Figure(what=f"used of {case.what}", value=100 * share, unit="%", at_least=case.at_least),
        Figure(
            what="… calls that the provider refused",
            value=100 * refused,
            unit="%",
            at_most=0.1 if case.at_least else None,
        ),
    ]


def _use_up(house: House, model: str, tokens: int) -> None:
    """Call until the provider refuses, as somebody else with the same key."""
    url = f"http://127.0.0.1:{house.simulated_port}/v1/chat/completions"
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": model, "max_tokens": tokens, "messages": messages}
    headers = {"Authorization": f"Bearer {_KEY}", "X-Simulate": "ttft_ms=0"}

    def call_on(_: int) -> None:
        with httpx.Client(headers=headers, timeout=30) as client:
            while client.post(url, json=body).status_code == 200:
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call_on, range(8)))


def _watch(house: House, per_s: float, wait: Callable[[], None]) -> tuple[float, float]:
    """Give the share that is used of what the provider allows, and that it refused of the calls."""
    begin, began, refused = _counts(house)
    wait()
    end, started, more = _counts(house)
    called = started - began
    return called / ((end - begin) * per_s), (more - refused) / max(1, called + more - refused)


def _counts(house: House) -> tuple[float, int, int]:
    """Give the time, the calls that were answered so far and those that were refused."""
    started, total = house.upstream.number("started"), house.upstream.number("total")
    return time.monotonic(), started, total - started
