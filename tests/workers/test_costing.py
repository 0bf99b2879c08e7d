"""Costs: where they are told, and that nothing else of a body changes."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog import Catalog
from pipeline.errors import Failure
from pipeline.event import Event, Facts, Lease, Usage
from pipeline.limits.tickets import Settlement
from pipeline.outcome import Die, Forward
from pipeline.prices import OWN, Price
from pipeline.settings import models
from pipeline.settings.load import (
    DeploymentSettings,
    ModelSettings,
    ProviderSettings,
    Settings,
)
from workers import costing
from workers.providers.base import Reply

PRICE = Price(prompt=2, completion=10, cached=1, cache_write=2)
USAGE = Usage(prompt_tokens=100, completion_tokens=20, total_tokens=120)
COST = 0.0004
BODY = b"""{ "id": "x",  "choices": [{"message": {"content": "\\"usage\\": {\\"a\\": 1}"}}],
 "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120 } , "x": [1.50]}"""

CATALOG = Catalog(
    Settings(
        providers={
            "sim": ProviderSettings(kind="simulated"),
            "own": ProviderSettings(kind="ollama"),
        },
        models={
            "quality": ModelSettings(
                deployments=(
                    DeploymentSettings(
                        provider="sim",
                        model="one",
                        price=models.Price(prompt=2.0, completion=10.0),
                    ),
                ),
                fallbacks=("fast",),
            ),
            "fast": ModelSettings(deployments=(DeploymentSettings(provider="own", model="two"),)),
        },
    )
)


def leased(deployment: str = "sim/one", **fields: object) -> Event:
    event = Event(
        id="r1", model="quality", body_bytes=2, created=1, lease=Lease(deployment=deployment)
    )
    return msgspec.structs.replace(event, **fields)


def reply(usage: Usage | None = USAGE) -> Reply:
    return Reply(response=BODY, usage=usage)


def test_the_cost_comes_last_in_the_usage_and_no_other_byte_changes() -> None:
    told = costing.with_cost(BODY, COST)
    assert told == BODY.replace(b"120 }", b'120 ,"cost":0.0004}')
    assert json.loads(told)["usage"]["cost"] == COST


def test_the_right_usage_is_found_where_the_same_text_stands_twice() -> None:
    usage = b'{"prompt_tokens":1}'
    body = b'{"usage":%b,"x":{"usage":%b},"y":1}' % (usage, usage)
    told = json.loads(costing.with_cost(body, 0.5))
    assert told == {
        "usage": {"prompt_tokens": 1, "cost": 0.5},
        "x": {"usage": {"prompt_tokens": 1}},
        "y": 1,
    }


@pytest.mark.parametrize(
    "body", [b'{"id":1}', b'{"usage":null}', b'{"usage":{"prompt_tokens":1,"cost":0}}']
)
def test_a_body_without_usage_or_with_a_cost_stays_as_it_is(body: bytes) -> None:
    assert costing.with_cost(body, 0.5) == body


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    fields=st.dictionaries(st.sampled_from(["id", "x", "usage", "choices", "é"]), _json),
    usage=st.dictionaries(st.sampled_from(["prompt_tokens", "x", "usage"]), _json),
    indent=st.none() | st.integers(0, 2),
)
def test_any_body_stays_the_same_but_for_the_cost(
    fields: dict[str, object], usage: dict[str, object], indent: int | None
) -> None:
    whole = {**fields, "usage": usage}
    told = costing.with_cost(json.dumps(whole, indent=indent).encode(), 0.25)
    assert json.loads(told) == {**whole, "usage": {**usage, "cost": 0.25}}


def test_a_reply_is_priced_in_its_usage_and_its_body() -> None:
    told = costing.priced(reply(), PRICE)
    assert told.usage == msgspec.structs.replace(USAGE, cost=COST)
    assert json.loads(told.response)["usage"]["cost"] == COST


@pytest.mark.parametrize("price", [None, OWN])
def test_what_nobody_bills_or_knows_is_not_told(price: Price | None) -> None:
    assert costing.priced(reply(), price) == reply()
    assert costing.chunk_priced(b'{"usage":{"prompt_tokens":1}}', price).endswith(b":1}}")


def test_the_providers_own_word_stands() -> None:
    told = reply(msgspec.structs.replace(USAGE, cost=0.7))
    assert costing.priced(told, PRICE) == told
    chunk = b'{"choices":[],"usage":{"prompt_tokens":1,"cost":0.7}}'
    assert costing.chunk_priced(chunk, PRICE) == chunk


def test_a_reply_without_usage_has_no_cost() -> None:
    assert costing.priced(reply(None), PRICE) == reply(None)
    assert costing.chunk_priced(b'{"usage":null}', PRICE) == b'{"usage":null}'


def test_a_usage_chunk_is_priced() -> None:
    told = costing.chunk_priced(b'{"choices":[],"usage":{"prompt_tokens":100}}', PRICE)
    assert told == b'{"choices":[],"usage":{"prompt_tokens":100,"cost":0.0002}}'


def test_costs_add_up_over_the_attempts() -> None:
    facts: Facts = {}
    event = costing.noted(leased(cost=0.1), msgspec.structs.replace(USAGE, cost=0.2), facts)
    assert facts == {"cost": 0.2}
    assert event.cost == 0.3
    assert costing.noted(event, USAGE, facts) is event


def test_a_cut_stream_costs_what_the_limits_are_told() -> None:
    died = Die(leased(cost=0.1), Failure(message="cut"), {"cause": "interrupted"})
    end = Settlement(ending="failed", prompt_tokens=100, completion_tokens=20)
    charged = costing.charge(died, end, PRICE)
    assert isinstance(charged, Die)
    assert charged.event.cost == 0.1004
    assert charged.facts == {"cause": "interrupted", "cost": COST}
    assert costing.charge(died, end, None) is died


def test_a_call_that_used_nothing_costs_nothing() -> None:
    again = Forward(leased(), "gate", {})
    assert costing.charge(again, Settlement(ending="again"), PRICE) is again


def test_the_lease_tells_the_price_and_whether_it_is_a_fallback() -> None:
    price = costing.price_of(leased(), CATALOG)
    assert price is not None
    assert (price.prompt, price.completion) == (2, 10)
    assert costing.price_of(leased("own/two"), CATALOG) is OWN
    assert costing.price_of(leased(lease=None), CATALOG) is None
    assert not costing.is_fallback(leased(), CATALOG)
    assert costing.is_fallback(leased("own/two"), CATALOG)
    assert not costing.is_fallback(leased("own/two", model="fast"), CATALOG)
