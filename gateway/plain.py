"""The plain API's chat (WIRE.md 12): a message in, text out, at once or later."""

from typing import Final

import msgspec

from gateway.asking import Asked, messages_checked, session_checked
from gateway.exchange import JSON_TYPE, TEXT_TYPE, Exchange
from gateway.frames import Form, Place, Plain, Text
from gateway.gateway import Gateway
from gateway.idempotency import REPLAYED, put_in
from gateway.politely import instead
from gateway.preference import patient
from gateway.reading import Reading, event_of, read
from gateway.showing import Showing
from pipeline import clock
from pipeline.errors import BadRequest
from pipeline.event import NO_BODY, Event
from pipeline.limits.estimate import of_chat
from pipeline.needs import asks_of, cache_key_of, needs_of

#: Fields of the body that are for us; everything else goes to the provider.
_OURS: Final = frozenset(
    {
        "message", "session_id", "priority", "system", "parameters", "model_preferences", "follows",
    }
)  # fmt: skip


class PlainBody(Asked, frozen=True, kw_only=True):
    """What we read of the body; exactly one of message and messages."""

    message: str | None = None
    messages: msgspec.Raw = NO_BODY
    model: str | None = None
    session_id: str | None = None
    system: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None


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
        reading, event, body = await self._asked(exchange)
        asking = reading.asking(msgspec.structs.replace(event, patient=True), body)
        as_text = exchange.header(b"accept").startswith("text/plain")
        if as_text:
            exchange.stream_type = TEXT_TYPE
        shows = None if as_text else Plain(event.id).waiting
        hearing = self._gateway.hear(exchange, asking.event, shows=shows)
        try:
            accepted = await put_in(self._gateway, asking, hearing, self._gateway.name)
            form: Form = Text() if as_text else Plain(accepted.id)
            polite = instead(self._gateway, asking.event, hearing)
            whole = await Showing(hearing, form, Place(), cold=True, instead=polite).run()
        finally:
            hearing.close()
        if not exchange.finished and (whole or not as_text):
            await exchange.finish()

    async def later(self, exchange: Exchange) -> None:
        """POST /chat/async: accepted is answered; the reply can be read as often as liked."""
        reading, event, body = await self._asked(exchange)
        event = patient(event, reading.wished.timeout_s)
        # What this route answers is there with the accepting: a duplicate has not to wait for it.
        once = reading.once and reading.once.shared
        accepted = await self._gateway.ingress.accept(event, body, once=once)
        headers = [JSON_TYPE, *await self._gateway.quota_headers(event)]
        session = event.session
        if accepted.id == event.id:
            exchange.took(event)
        else:
            exchange.repeats = True
            exchange.request_id = accepted.id
            headers.append(REPLAYED)
            record = self._gateway.names.record(accepted.id)
            session = (await self._gateway.ask("HGET", record, "session") or b"").decode()
        headers.append((b"location", f"/chat/{accepted.id}".encode()))
        queued = Queued(task_id=accepted.id, session_id=session, stream_url=f"/stream/{session}")
        await exchange.answer(202, msgspec.json.encode(queued), headers)

    async def state(self, exchange: Exchange) -> None:
        """GET /chat/{task_id}."""
        gateway, request_id = self._gateway, exchange.path("task_id")
        record = await gateway.record(request_id, gateway.callers.tenant_of(exchange))
        await exchange.answer(200, msgspec.json.encode(await gateway.state(request_id, record)))

    async def _asked(self, exchange: Exchange) -> tuple[Reading[PlainBody], Event, bytes]:
        """Read a request; gives the event and the OpenAI body that it stands for."""
        reading = await read(self._gateway, exchange, _decoder)
        asked = reading.asked
        event = event_of(
            self._gateway, reading, asked.model or self._gateway.settings.gateway.default_model
        )
        body = _body(reading.body, asked, event.model)
        asks = asks_of(body)
        size = of_chat(body, asks)
        event = msgspec.structs.replace(
            event,
            body_bytes=len(body),
            stream=True,
            session=session_checked(asked.session_id) if asked.session_id else clock.new_id(),
            prompt_tokens=size.prompt_tokens,
            output_tokens=size.output_tokens,
            needs=needs_of(asks),
            sticky=cache_key_of(asks),
        )
        return reading, event, body


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
