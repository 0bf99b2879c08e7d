"""Requests that come more than once: their key, and the reply of the one that holds it.

A key is the client's own `Idempotency-Key`, or where `idempotency.dedupe` says so the request
itself. Scoped by tenant and route; of key and body only hashes leave this process.
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec

from gateway.exchange import Exchange, Headers
from gateway.gateway import Gateway
from gateway.hearing import Hearing
from pipeline.errors import BadRequest
from pipeline.event import Event
from pipeline.settings.load import IdempotencySettings
from pipeline.streams.inbox import Frame
from pipeline.streams.once import Accepted, Once, OnDuplicate, digest

REPLAYED: Final = (b"idempotency-replayed", b"true")

#: A string of RFC 9651, whose parameters mean nothing to us.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"(?: *;.*)?')
_BARE: Final = re.compile(r"[!#-~][ -~]*")
_ESCAPED: Final = re.compile(r"\\(.)")
_MAX_KEY_CHARACTERS: Final = 255

#: What a client may choose for a request whose key is held by one under way.
_CHOICES: Final[dict[str, OnDuplicate]] = {"": "refuse", "attach": "attach"}


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is ready to be put in."""

    exchange: Exchange
    event: Event
    body: bytes
    once: Once | None


def once_of(
    settings: IdempotencySettings, exchange: Exchange, tenant: str, body: bytes
) -> Once | None:
    """Tell what a request is known by; nothing: it counts for itself. Raises `BadRequest`."""
    choice = _CHOICES.get(exchange.header(b"x-sluice-on-duplicate").lower())
    if choice is None:
        raise BadRequest("X-Sluice-On-Duplicate can be `attach`; without it, duplicates get 409.")
    if b"idempotency-key" not in exchange.headers and settings.dedupe == "off":
        return None
    owner, route = tenant.encode(), exchange.scope["path"].encode()
    if b"idempotency-key" in exchange.headers:
        key = _key(exchange.header(b"idempotency-key"))
        return Once(
            key=digest(b"key", owner, route, key.encode()),
            fingerprint=digest(route, body),
            on_duplicate=choice,
        )
    repeats = settings.dedupe == "all" or _is_retry(exchange)
    return Once(
        key=digest(b"body", owner, route, body),
        fingerprint="-",
        on_duplicate="join" if repeats else "renew",
        dedupe_s=settings.dedupe_s,
    )


def _key(text: str) -> str:
    found = _QUOTED.fullmatch(text)
    bare = text if _BARE.fullmatch(text) else ""
    key = _ESCAPED.sub(r"\1", found[1]) if found else bare
    if not 1 <= len(key) <= _MAX_KEY_CHARACTERS:
        raise BadRequest(
            f"Idempotency-Key is a string of 1 to {_MAX_KEY_CHARACTERS} printable ASCII "
            'characters, as "8e03978e-40d5" or without the quotes.'
        )
    return key


def _is_retry(exchange: Exchange) -> bool:
    """Tell whether the official clients say that they have sent this before."""
    count = exchange.header(b"x-stainless-retry-count")
    return count.isdigit() and int(count) > 0


async def put_in(gateway: Gateway, asking: Asking, hearing: Hearing, inbox: str) -> Accepted:
    """Have a request accepted, or go over to the reply of the one that holds its key.

    Raises as `Ingress.accept` does.
    """
    accepted = await gateway.ingress.accept(
        asking.event, asking.body, inbox=inbox, once=asking.once
    )
    if accepted.id == asking.event.id:
        asking.exchange.took(asking.event)
    else:
        told_of(asking.exchange, accepted)
        watch = gateway.inbox.watch(accepted.id)
        hearing.follow(watch)
        await gateway.resume(watch)
    return accepted


def told_of(exchange: Exchange, accepted: Accepted) -> None:
    """Have the answer name the request that it comes from, and tell when it is not the first."""
    exchange.request_id = accepted.id
    exchange.repeats = True
    if accepted.replayed:
        exchange.promise = partial(_with_replayed, exchange.promise)


async def _with_replayed(promise: Callable[[], Awaitable[Headers]] | None) -> Headers:
    return [*(await promise() if promise else ()), REPLAYED]


async def response_of(gateway: Gateway, frame: Frame, accepted: Accepted) -> bytes:
    """Give the whole response behind a closing; nothing: it is gone.

    Only the inbox of the request's own client hears of it with the closing.
    """
    if frame.response or accepted.entry:
        return frame.response
    response: bytes | None = await gateway.ask(
        "HGET", gateway.names.record(accepted.id), "response"
    )
    return response or b""
