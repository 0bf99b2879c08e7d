"""The plain API's chat (WIRE.md 12): a message in, text out, at once or later."""

from typing import Final

import msgspec

from gateway.asking import (
    Wishes,
    decode,
    messages_checked,
    priority_of,
    session_checked,
    wishes,
)
from gateway.exchange import JSON_TYPE, TEXT_TYPE, Exchange
from gateway.frames import Form, Place, Plain, Text
from gateway.gateway import Gateway
from gateway.records import task
from gateway.showing import Showing
from pipeline import clock
from pipeline.errors import BadRequest
from pipeline.event import NO_BODY, Event

#: Fields of the body that are for us; everything else goes to the provider.
_OURS: Final = frozenset({"message", "session_id", "priority", "system", "parameters"})


class PlainBody(msgspec.Struct, frozen=True, kw_only=True):
    """What we read of the body; exactly one of message and messages."""

    message: str | None = None
    messages: msgspec.Raw = NO_BODY
    model: str | None = None
    session_id: str | None = None
    priority: int | None = None
    service_tier: str | None = None
    system: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None
    user: str | None = None


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `/chat/async`."""

    status: str = "queued"
    task_id: str
    session_id: str
    stream_url: str


_decoder: Final = msgspec.json.Decoder(PlainBody)


class PlainChat:
    """The routes `/chat`, `/chat/async` and `/chat/{task_id}`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def chat(self, exchange: Exchange) -> None:
        """POST /chat: frames, or text alone for who accepts only that."""
        wished = wishes(exchange)
        event, body = await self._asked(exchange, wished, self._gateway.timeout_s(wished))
        form: Form = Plain(event.id)
        as_text = exchange.header(b"accept").startswith("text/plain")
        if as_text:
            form, exchange.stream_type = Text(), TEXT_TYPE
        hearing = self._gateway.hear(exchange, event, ping=not as_text)
        try:
            await self._gateway.ingress.accept(event, body, inbox=self._gateway.name)
            whole = await Showing(hearing, form, Place(), cold=True).run()
        finally:
            hearing.close()
        if not exchange.finished and (whole or not as_text):
            await exchange.finish()

    async def later(self, exchange: Exchange) -> None:
        """POST /chat/async: accepted is answered; the reply can be read as often as liked."""
        wished = wishes(exchange)
        event, body = await self._asked(exchange, wished, wished.timeout_s or 0.0)
        await self._gateway.ingress.accept(event, body)
        queued = Queued(
            task_id=event.id, session_id=event.session, stream_url=f"/stream/{event.session}"
        )
        location = (b"location", f"/chat/{event.id}".encode())
        await exchange.answer(202, msgspec.json.encode(queued), [JSON_TYPE, location])

    async def state(self, exchange: Exchange) -> None:
        """GET /chat/{task_id}."""
        gateway, request_id = self._gateway, exchange.path("task_id")
        record = await gateway.record(request_id, gateway.callers.tenant_of(exchange))
        deltas = await gateway.deltas(request_id, record)
        await exchange.answer(200, msgspec.json.encode(task(request_id, record, deltas)))

    async def _asked(
        self, exchange: Exchange, wished: Wishes, timeout_s: float
    ) -> tuple[Event, bytes]:
        gateway = self._gateway
        tenant = gateway.callers.tenant_of(exchange)
        raw = await exchange.body(gateway.settings.gateway.max_body_bytes)
        asked = decode(raw, _decoder)
        model = asked.model or gateway.settings.gateway.default_model
        gateway.check_model(tenant, model)
        body = _body(raw, asked, model)
        usual, now = gateway.callers.priority_of(tenant), clock.now()
        event = Event(
            id=exchange.request_id,
            model=model,
            body_bytes=len(body),
            stream=True,
            priority=priority_of(asked.priority, wished.priority, asked.service_tier, usual),
            created=now,
            deadline=now + timeout_s if timeout_s else 0.0,
            tenant=tenant,
            user=asked.user or "",
            session=session_checked(asked.session_id) if asked.session_id else clock.new_id(),
            traceparent=wished.traceparent,
        )
        return event, body


def _body(raw: bytes, asked: PlainBody, model: str) -> bytes:
    """Write the OpenAI body that a plain one stands for."""
    if (asked.message is None) == (asked.messages is NO_BODY):
        raise BadRequest("Exactly one of 'message' and 'messages' is needed.", param="message")
    given = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    body: dict[str, object] = {name: value for name, value in given.items() if name not in _OURS}
    body |= asked.parameters or {}
    body |= {"model": model, "messages": _messages(asked), "stream": True}
    return msgspec.json.encode(body)


def _messages(asked: PlainBody) -> list[object]:
    messages: list[object] = []
    if asked.system:
        messages.append({"role": "system", "content": asked.system})
    if asked.messages is NO_BODY:
        return [*messages, {"role": "user", "content": asked.message}]
    messages_checked(asked.messages)
    return [*messages, *msgspec.json.decode(asked.messages, type=list[msgspec.Raw])]
