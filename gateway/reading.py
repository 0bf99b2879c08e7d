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
from gateway.records import not_found
from pipeline import clock
from pipeline.companions import named
from pipeline.errors import BadRequest, ModelNotFound
from pipeline.event import Companion, Event, Operation
from pipeline.preferences import place_of, preferred
from pipeline.streams.intake import MAX_USER_CHARACTERS, REQUEST_ID
from pipeline.streams.once import Once

T = TypeVar("T", bound=Asked)


class Reading(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A request as it was read."""

    exchange: Exchange
    caller: Caller
    body: bytes
    asked: T
    wished: Wishes
    #: The request of whose companion this is a call; empty: none.
    follows: str = ""
    #: What it is known by, should it come again.
    once: Once | None

    def asking(self, event: Event, body: bytes) -> Asking:
        """Give the request as it is put in, with the body that goes to the provider."""
        return Asking(exchange=self.exchange, event=event, body=body, once=self.once)


async def read(
    gateway: Gateway, exchange: Exchange, decoder: msgspec.json.Decoder[T]
) -> Reading[T]:
    """Read a request.

    Raises `BadToken`, `BodyTooLarge`, `BadRequest`, `ClientGone`, and `RequestNotFound` where it
    follows none of this caller's.
    """
    gateway.traces.begin(exchange)
    caller = gateway.callers.caller_of(exchange)
    body = await exchange.body(gateway.settings.gateway.max_body_bytes)
    asked, wished = decode(body, decoder), wishes(exchange)
    follows = wished.follows or asked.follows or ""
    if follows:
        await _check_followed(gateway, caller.tenant, follows)
    return Reading(
        exchange=exchange,
        caller=caller,
        body=body,
        asked=asked,
        wished=wished,
        follows=follows,
        once=once_of(gateway.settings.idempotency, exchange, caller.tenant, body),
    )


async def _check_followed(gateway: Gateway, tenant: str, request_id: str) -> None:
    if not REQUEST_ID.fullmatch(request_id):
        raise BadRequest(
            "'follows' is a request's id, and matches [A-Za-z0-9._-]{1,128}.", param="follows"
        )
    if not await gateway.is_visible(request_id, tenant):
        missing = not_found(request_id)
        missing.param = "follows"
        raise missing


def event_of(
    gateway: Gateway, reading: Reading[T], model: str, operation: Operation = "chat"
) -> Event:
    """Begin an event with all that no route says in a way of its own.

    Raises `BadRequest`, and `ModelNotFound` for what is no model of this caller's.
    """
    asked, wished, tenant = reading.asked, reading.wished, reading.caller.tenant
    wanted = preferred(asked.model_preferences, operation)
    model = wanted.model or model
    gateway.check_model(tenant, model)
    for companion in wanted.also:
        _check_companion(gateway, tenant, companion)
    usual, now = gateway.callers.priority_of(tenant), clock.now()
    served = reading.exchange.served
    return Event(
        id=reading.exchange.request_id,
        operation=operation,
        model=gateway.catalog.canonical(model),
        body_bytes=len(reading.body),
        priority=priority_of(asked.priority, wished.priority, asked.service_tier, usual),
        created=now,
        deadline=now + gateway.timeout_s(wished),
        tenant=tenant,
        token=reading.caller.token,
        user=_user(gateway.settings.gateway.user_header, reading),
        traceparent="" if served else wished.caller.traceparent,
        tracestate="" if served else wished.caller.tracestate,
        trace=served.trace if served else None,
        calls=wanted.calls,
        also=wanted.also,
        follows=reading.follows,
    )


def _check_companion(gateway: Gateway, tenant: str, companion: Companion) -> None:
    name = named(companion, gateway.catalog)
    if not gateway.callers.may_use(tenant, name):
        raise ModelNotFound(f"The model `{name}` does not exist here.", param=place_of(companion))


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
