"""Requests whose answer comes whole: put in and waited for, or the client is told where to ask."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from gateway.asking import Asked
from gateway.errors import refuse
from gateway.exchange import JSON_TYPE
from gateway.gateway import Gateway
from gateway.idempotency import Asking, put_in, response_of
from gateway.politely import text_of
from gateway.preference import Later, answer_later, later_of, patient, within
from gateway.reading import Reading
from gateway.summary_headers import POLITE, tell
from pipeline import polite
from pipeline.errors import Failure
from pipeline.event import Event

T = TypeVar("T", bound=Asked)

#: Makes what is answered of the provider's response, in OpenAI's form.
Shape = Callable[[bytes], bytes]


def wanted(
    gateway: Gateway, reading: Reading[T], event: Event, body: bytes
) -> tuple[Asking, Later | None]:
    """Give a request as it is put in, and what its client prefers to a long wait."""
    asking = reading.asking(event, body)
    later = later_of(reading.exchange)
    if later is None:
        return asking, None
    asking = msgspec.structs.replace(
        asking,
        event=patient(event, reading.wished.timeout_s),
        once=asking.once and asking.once.shared,
    )
    return asking, later.at_most(gateway.settings.gateway.request_timeout_s)


async def answer_whole(
    gateway: Gateway, asking: Asking, later: Later | None, shape: Shape = bytes
) -> None:
    """Have a request accepted, wait for its end and answer with that."""
    exchange = asking.exchange
    hearing = gateway.hear(exchange, asking.event)
    try:
        # The `+` asks for the response itself with the closing.
        accepted = await put_in(gateway, asking, hearing, f"{gateway.name}+")
        frame = await within(later, hearing.last())
        if frame is None:
            assert later is not None
            await answer_later(gateway, asking, later)
            return
        failure = hearing.failure(frame)
        tell(exchange, hearing.summary)
        text = text_of(gateway, asking.event, hearing) if failure else ""
        if failure and text:
            exchange.told = (*exchange.told, POLITE)
            response, failure = polite.whole(asking.event, text, failure), None
        else:
            response = b"" if failure else await response_of(gateway, frame, accepted)
        if failure is None and not response:
            failure = Failure(message="The request was answered, but its answer is gone.")
        if failure:
            await refuse(exchange, failure)
        else:
            headers = [JSON_TYPE, *await exchange.promised()]
            await exchange.answer(200, shape(response), headers)
    finally:
        hearing.close()
