"""Reading a request that is to be accepted: who asks, what, and the event that comes of it.

What is the same for every route is here; what its body means, each route says itself.
"""

from typing import Generic, TypeVar

import msgspec

from gateway.asking import Asked, Wishes, decode, priority_of, wishes
from gateway.callers import Caller
from gateway.exchange import Exchange
from gateway.gateway import Gateway
from gateway.idempotency import Asking, once_of
from pipeline import clock
from pipeline.errors import BadRequest
from pipeline.event import Event
from pipeline.streams.intake import MAX_USER_CHARACTERS
from pipeline.streams.once import Once

T = TypeVar("T", bound=Asked)


class Reading(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A request as it was read."""

    exchange: Exchange
    caller: Caller
    body: bytes
    asked: T
    wished: Wishes
    #: What it is known by, should it come again.
    once: Once | None

    def asking(self, event: Event, body: bytes) -> Asking:
        """Give the request as it is put in, with the body that goes to the provider."""
        return Asking(exchange=self.exchange, event=event, body=body, once=self.once)


async def read(
    gateway: Gateway, exchange: Exchange, decoder: msgspec.json.Decoder[T]
) -> Reading[T]:
    """Read a request. Raises `BadToken`, `BodyTooLarge`, `BadRequest` and `ClientGone`."""
    caller = gateway.callers.caller_of(exchange)
    body = await exchange.body(gateway.settings.gateway.max_body_bytes)
    return Reading(
        exchange=exchange,
        caller=caller,
        body=body,
        asked=decode(body, decoder),
        wished=wishes(exchange),
        once=once_of(gateway.settings.idempotency, exchange, caller.tenant, body),
    )


def event_of(gateway: Gateway, reading: Reading[T], model: str) -> Event:
    """Begin an event with all that no route says in a way of its own.

    Raises `BadRequest`, and `ModelNotFound` for what is no model of this caller's.
    """
    asked, wished, tenant = reading.asked, reading.wished, reading.caller.tenant
    gateway.check_model(tenant, model)
    usual, now = gateway.callers.priority_of(tenant), clock.now()
    return Event(
        id=reading.exchange.request_id,
        model=gateway.catalog.canonical(model),
        body_bytes=len(reading.body),
        priority=priority_of(asked.priority, wished.priority, asked.service_tier, usual),
        created=now,
        deadline=now + gateway.timeout_s(wished),
        tenant=tenant,
        token=reading.caller.token,
        user=_user(gateway.settings.gateway.user_header, reading),
        traceparent=wished.traceparent,
    )


def _user(header: str, reading: Reading[T]) -> str:
    asked = reading.asked
    if asked.safety_identifier:
        return bounded(asked.safety_identifier, "'safety_identifier'", "safety_identifier")
    if asked.user:
        return bounded(asked.user, "'user'", "user")
    return bounded(_header(reading.exchange, header), f"The header {header}", None)


def bounded(user: str, place: str, param: str | None) -> str:
    """Give a user's name back if it is one. Raises `BadRequest` that names the place."""
    if len(user) > MAX_USER_CHARACTERS:
        raise BadRequest(
            f"{place} has {len(user)} characters; a user's name has {MAX_USER_CHARACTERS} at most.",
            param=param,
        )
    return user


def _header(exchange: Exchange, name: str) -> str:
    """Read a name as UTF-8, so that it is the same user as in a body."""
    try:
        return exchange.headers.get(name.encode(), b"").decode()
    except UnicodeDecodeError:
        raise BadRequest(f"The header {name} is not UTF-8.") from None
