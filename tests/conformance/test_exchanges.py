"""Calls that go well, and those that a form cannot express, over real sockets."""

import asyncio
from typing import get_args

import msgspec
import pytest

from pipeline.settings.models import Kind
from tests.conformance.forms import Exchange, Form, Refused
from tests.conformance.ground import Made, answering, call_of, made_with, make
from tests.conformance.legal import check_chunks
from tests.conformance.listed import EXCHANGES, FORMS, REFUSED
from tests.providers.served import served

STREAMS = {name: pair for name, pair in EXCHANGES.items() if pair[1].stream}


def test_every_kind_has_a_form() -> None:
    assert {form.kind for form in FORMS} == set(get_args(Kind))


@pytest.mark.parametrize(("form", "exchange"), EXCHANGES.values(), ids=EXCHANGES)
def test_the_request_arrives_as_the_provider_documents_it(form: Form, exchange: Exchange) -> None:
    made = made_with(answering(exchange), form, exchange)
    [request] = made.requests
    assert request.line == f"POST {exchange.path} HTTP/1.1"
    assert msgspec.json.decode(request.body) == exchange.sent
    assert form.headers.items() <= request.headers.items()
    assert request.headers["content-type"] == "application/json"
    assert ("authorization" in request.headers) == ("authorization" in form.headers)


@pytest.mark.parametrize(("form", "exchange"), EXCHANGES.values(), ids=EXCHANGES)
def test_the_answer_is_told_in_openais_form(form: Form, exchange: Exchange) -> None:
    response = made_with(answering(exchange), form, exchange).response
    assert isinstance(response.get("created", 0), int)
    assert {"created": response.get("created"), **exchange.told} == {"created": None, **response}


@pytest.mark.parametrize(("form", "exchange"), STREAMS.values(), ids=STREAMS)
def test_a_streams_chunks_are_legal_for_the_openai_client(form: Form, exchange: Exchange) -> None:
    made = made_with(answering(exchange), form, exchange)
    check_chunks(made.deltas)


@pytest.mark.parametrize(("form", "exchange"), STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("size", [1, 7, 50])
def test_a_streams_pieces_may_end_anywhere(form: Form, exchange: Exchange, size: int) -> None:
    made = made_with(answering(exchange, size), form, exchange)
    at_once = made_with(answering(exchange), form, exchange)
    assert _undated(made) == _undated(at_once)


@pytest.mark.parametrize(("form", "refused"), REFUSED.values(), ids=REFUSED)
def test_what_the_form_cannot_express_is_refused_by_name(form: Form, refused: Refused) -> None:
    async def scenario() -> Made:
        async with served(answering(form.whole)) as here:
            call = call_of(here, form, form.whole)
            body = msgspec.json.encode({"model": "fast", **refused.asked})
            call = msgspec.structs.replace(call, body=body, operation=refused.operation)
            return await make(here, call)

    made = asyncio.run(scenario())
    assert made.requests == []
    assert made.failure is not None
    assert (made.failure.status, made.failure.cause) == (400, "bad_request")
    assert made.failure.param == refused.param
    assert made.failure.message


def _undated(made: Made) -> list[object]:
    chunks = [msgspec.json.decode(chunk) for chunk in made.chunks]
    return [{**told, "created": 0} for told in (*chunks, made.response)]
