"""The gateway's own tallies, where no client can say what is to be counted."""

import pytest
from starlette.types import Message

from gateway.endpoint import Endpoint
from gateway.exchange import Exchange
from gateway.http_meter import HttpMeter
from pipeline.telemetry.exposition import written
from tests.telemetry.scrape import Scrape

pytestmark = pytest.mark.anyio


async def _receive() -> Message:
    return {"type": "http.request", "body": b""}


async def _send(_: Message) -> None:
    return


async def _break(_: Exchange) -> None:
    raise RuntimeError("a bug")


async def test_a_bug_is_counted_as_the_500_that_it_is_answered_with() -> None:
    meter, endpoint = HttpMeter(), Endpoint(get=_break)
    endpoint.meter = meter.route("/broken")
    scope = {"type": "http", "method": "GET", "path": "/broken", "headers": []}
    with pytest.raises(RuntimeError):
        await endpoint(scope, _receive, _send)
    found = Scrape(written(meter.families()).decode())
    assert found.total("sluice_http_requests_total", route="/broken", status="500") == 1
    assert found.total("sluice_http_open_requests") == 0
