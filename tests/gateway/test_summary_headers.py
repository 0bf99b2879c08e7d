"""The headers of an answer's way, to the letter."""

import asyncio
from collections.abc import Callable, Mapping
from typing import NoReturn

import pytest

from gateway.exchange import Exchange
from gateway.summary_headers import dollars, tell, tell_head
from pipeline.event import Summary, encode

WHOLE = Summary(
    deployment="sim/one",
    model="one-2026",
    attempts=2,
    fallbacks=1,
    queue_ms=12.0,
    provider_ms=30.5,
    cost=0.000_015,
)


async def nobody(*_: object) -> NoReturn:
    raise AssertionError


def told(change: Callable[[Exchange], object]) -> Mapping[str, str]:
    async def run() -> Mapping[str, str]:
        exchange = Exchange({"type": "http", "headers": []}, nobody, nobody)
        exchange.arrived -= 0.1
        change(exchange)
        return {name.decode(): value.decode() for name, value in exchange.told}

    return asyncio.run(run())


def test_all_that_is_known_is_told() -> None:
    headers = dict(told(lambda exchange: tell(exchange, WHOLE)))
    assert 57 <= float(headers.pop("x-sluice-overhead-ms")) < 1000
    assert headers == {
        "x-sluice-attempts": "2",
        "x-sluice-deployment": "sim/one",
        "x-sluice-fallbacks": "1",
        "x-sluice-model": "one-2026",
        "x-sluice-queue-ms": "12.0",
        "x-sluice-provider-ms": "30.5",
        "x-sluice-cost": "0.000015",
    }


def test_a_stream_is_told_of_by_its_head() -> None:
    head = encode(Summary(deployment="sim/one", attempts=1, provider_ms=3.0))
    headers = told(lambda exchange: tell_head(exchange, head))
    assert headers["x-sluice-deployment"] == "sim/one"
    assert not {"x-sluice-cost", "x-sluice-model"} & headers.keys()


def test_what_is_given_again_took_no_time_and_no_money() -> None:
    def change(exchange: Exchange) -> None:
        exchange.repeats = True
        tell(exchange, WHOLE)

    assert {name.removeprefix("x-sluice-") for name in told(change)} == {
        "attempts", "deployment", "fallbacks", "model",
    }  # fmt: skip


def test_nothing_is_told_of_nothing_or_too_late() -> None:
    def late(exchange: Exchange) -> None:
        exchange.started = True
        tell(exchange, WHOLE)

    assert told(late) == {}
    assert told(lambda exchange: tell(exchange, None)) == {}
    assert told(lambda exchange: tell_head(exchange, b"")) == {}


def test_names_that_no_header_can_hold_are_made_harmless() -> None:
    odd = Summary(deployment="sim/é\r\nset-cookie: x", model="模型")
    headers = told(lambda exchange: tell(exchange, odd))
    assert headers["x-sluice-deployment"] == "sim/???set-cookie: x"
    assert headers["x-sluice-model"] == "??"


@pytest.mark.parametrize(
    ("cost", "text"), [(0.0, b"0"), (2.0, b"2"), (10.0, b"10"), (1.5e-7, b"0.00000015")]
)
def test_dollars_have_no_exponent(cost: float, text: bytes) -> None:
    assert dollars(cost) == text
