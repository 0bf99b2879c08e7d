"""Polite answers to who has waited in vain; the request itself goes on, and ends as it does."""

from collections.abc import Callable, Sequence

from gateway.gateway import Gateway
from gateway.hearing import Hearing
from pipeline import polite
from pipeline.errors import Failure
from pipeline.event import Event

#: Gives the chunks of a stream that are answered in place of an error; none: the error.
Instead = Callable[[Failure], Sequence[bytes]]


def text_of(gateway: Gateway, event: Event, hearing: Hearing) -> str:
    """Give what is answered in place of the end of a waiting; empty: its error."""
    waited = hearing.cut == "timeout" and event.operation == "chat"
    return gateway.catalog.model(event.model).polite if waited else ""


def instead(gateway: Gateway, event: Event, hearing: Hearing) -> Instead:
    """Give what knows the chunks for a failure, once that is there."""

    def chunks(failure: Failure) -> Sequence[bytes]:
        text = text_of(gateway, event, hearing)
        return polite.chunks(event, text, failure) if text else ()

    return chunks
