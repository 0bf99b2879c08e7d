"""OpenAI's routes: chat completions, embeddings and models, as the official clients know them."""

from typing import Final

import msgspec

from gateway.asking import ChatBody, EmbeddingsBody, messages_checked
from gateway.errors import CUT, RESTARTED, error_json, refuse
from gateway.exchange import JSON_TYPE, Exchange
from gateway.gateway import Gateway
from gateway.hearing import Hearing
from gateway.reading import event_of, read
from gateway.sse import DONE, data, waiting
from pipeline.catalog import ModelCard
from pipeline.errors import Failure, ModelNotFound
from pipeline.event import Event
from pipeline.limits.estimate import of_chat, of_embeddings
from pipeline.streams.inbox import Frame

_chat: Final = msgspec.json.Decoder(ChatBody)
_embeddings: Final = msgspec.json.Decoder(EmbeddingsBody)


class OpenAI:
    """The routes below `/v1`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def chat_completions(self, exchange: Exchange) -> None:
        """POST /v1/chat/completions."""
        reading = await read(self._gateway, exchange, _chat)
        asked, body = reading.asked, reading.body
        messages_checked(asked.messages)
        size = of_chat(body, asked)
        event = msgspec.structs.replace(
            event_of(self._gateway, reading, asked.model),
            stream=bool(asked.stream),
            include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
            prompt_tokens=size.prompt_tokens,
            output_tokens=size.output_tokens,
        )
        if event.stream:
            await self._stream(exchange, event, body)
        else:
            await self._whole(exchange, event, body)

    async def embeddings(self, exchange: Exchange) -> None:
        """POST /v1/embeddings."""
        reading = await read(self._gateway, exchange, _embeddings)
        asked, body = reading.asked, reading.body
        event = msgspec.structs.replace(
            event_of(self._gateway, reading, asked.model),
            operation="embeddings",
            prompt_tokens=of_embeddings(body, asked.input).prompt_tokens,
        )
        await self._whole(exchange, event, body)

    async def models(self, exchange: Exchange) -> None:
        """GET /v1/models: all of them; the official client never asks for a second page."""
        tenant = self._gateway.callers.tenant_of(exchange)
        listing = {"object": "list", "data": self._cards(tenant)}
        await exchange.answer(200, msgspec.json.encode(listing))

    async def model(self, exchange: Exchange) -> None:
        """GET /v1/models/{id}; an id with a slash has been decoded with the path."""
        tenant, name = self._gateway.callers.tenant_of(exchange), exchange.path("id")
        self._gateway.check_model(tenant, name)
        known = {card.id: card for card in self._cards(tenant)}
        card = known.get(name)
        if card is None:
            # A provider that serves any name lists only those that it is configured with.
            if not known:
                raise ModelNotFound(f"The model `{name}` does not exist here.", param="model")
            created = next(iter(known.values())).created
            card = ModelCard(id=name, created=created, owned_by=name.partition("/")[0])
        await exchange.answer(200, msgspec.json.encode(card))

    def _cards(self, tenant: str) -> list[ModelCard]:
        may_use = self._gateway.callers.may_use
        return [card for card in self._gateway.catalog.cards() if may_use(tenant, card.id)]

    async def _whole(self, exchange: Exchange, event: Event, body: bytes) -> None:
        hearing = self._gateway.hear(exchange, event)
        try:
            # The `+` asks for the response itself with the closing.
            await self._gateway.ingress.accept(event, body, inbox=f"{self._gateway.name}+")
            frame = await hearing.last()
            failure = hearing.failure(frame)
            if failure is None and not frame.response:
                failure = Failure(message="The request was answered, but its answer is gone.")
            if failure:
                await refuse(exchange, failure)
            else:
                headers = [JSON_TYPE, *await exchange.promised()]
                await exchange.answer(200, frame.response, headers)
        finally:
            hearing.close()

    async def _stream(self, exchange: Exchange, event: Event, body: bytes) -> None:
        hearing = self._gateway.hear(exchange, event, shows=waiting)
        try:
            await self._gateway.ingress.accept(event, body, inbox=self._gateway.name)
            await Relay(hearing, event).run()
        finally:
            hearing.close()


class Relay:
    """Hands a reply's chunks on as they are, framed for OpenAI's clients."""

    __slots__ = ("_event", "_hearing", "_sent")

    def __init__(self, hearing: Hearing, event: Event) -> None:
        self._hearing = hearing
        self._event = event
        #: Whether the client has seen a part of the answer.
        self._sent = False

    async def run(self) -> None:
        """Relay until the reply ends; the status is settled only with the first frame."""
        exchange = self._hearing.exchange
        exchange.closing_frame = self._cut
        while True:
            chunks: list[bytes] = []
            for frame in await self._hearing.frames():
                if frame.kind == "delta":
                    chunks.append(data(frame.lines))
                elif frame.kind != "restart":
                    await self._end(frame, chunks)
                    return
                elif self._sent:
                    await exchange.finish(self._error(RESTARTED))
                    return
                else:
                    # Nobody has seen anything of the generation that was cut.
                    chunks.clear()
            together = b"".join(chunks)
            if together:
                await exchange.begin()
                self._sent = True
                await exchange.write(together)

    async def _end(self, frame: Frame, chunks: list[bytes]) -> None:
        exchange = self._hearing.exchange
        failure = self._hearing.failure(frame)
        if failure and not chunks and not exchange.started:
            await refuse(exchange, failure)
            return
        await exchange.begin()
        await exchange.finish(b"".join([*chunks, self._error(failure) if failure else DONE]))

    def _cut(self) -> bytes:
        return self._error(CUT)

    def _error(self, failure: Failure) -> bytes:
        return data(error_json(failure, self._event.id))
