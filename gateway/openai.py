"""OpenAI's routes: chat completions, embeddings and models, as the official clients know them."""

from typing import Final, TypeVar

import msgspec

from gateway.asking import Asked, ChatBody, EmbeddingsBody, messages_checked
from gateway.errors import CUT, RESTARTED, error_json, refuse
from gateway.exchange import Exchange
from gateway.gateway import Gateway
from gateway.hearing import Hearing
from gateway.idempotency import Asking, put_in
from gateway.politely import Instead, instead
from gateway.preference import Later, answer_later, within
from gateway.reading import Reading, event_of, read
from gateway.sse import DONE, data, waiting
from gateway.summary_headers import POLITE, tell, tell_head
from gateway.whole import answer_whole, wanted
from pipeline.catalog import ModelCard
from pipeline.errors import Failure, ModelNotFound
from pipeline.event import Event
from pipeline.limits.estimate import of_chat, of_embeddings
from pipeline.needs import cache_key_of, needs_of
from pipeline.streams.inbox import Frame

T = TypeVar("T", bound=Asked)

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
            patient=bool(asked.stream),
            include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
            prompt_tokens=size.prompt_tokens,
            output_tokens=size.output_tokens,
            needs=needs_of(asked),
            sticky=cache_key_of(asked),
        )
        await self._serve(reading, event)

    async def embeddings(self, exchange: Exchange) -> None:
        """POST /v1/embeddings."""
        reading = await read(self._gateway, exchange, _embeddings)
        asked, body = reading.asked, reading.body
        event = msgspec.structs.replace(
            event_of(self._gateway, reading, asked.model, "embeddings"),
            prompt_tokens=of_embeddings(body, asked.input).prompt_tokens,
        )
        await self._serve(reading, event)

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

    async def _serve(self, reading: Reading[T], event: Event) -> None:
        asking, later = wanted(self._gateway, reading, event, reading.body)
        if event.stream:
            await self._stream(asking, later)
        else:
            await answer_whole(self._gateway, asking, later)

    async def _stream(self, asking: Asking, later: Later | None) -> None:
        exchange, gateway = asking.exchange, self._gateway
        if later:
            # The first sign of life would settle the answer as a stream.
            later = later.at_most(gateway.pace.ping_s - 1)
        hearing = gateway.hear(exchange, asking.event, shows=waiting)
        try:
            relay = Relay(hearing, instead(gateway, asking.event, hearing))
            await put_in(gateway, asking, hearing, gateway.name)
            first = await within(later, hearing.frames())
            if later and first is None and not exchange.started:
                # A sign of life that is on its way must not come into the answer.
                hearing.close()
                await answer_later(gateway, asking, later)
            else:
                await relay.run(first or await hearing.frames())
        finally:
            hearing.close()


class Relay:
    """Hands a reply's chunks on as they are, framed for OpenAI's clients."""

    __slots__ = ("_hearing", "_instead", "_sent")

    def __init__(self, hearing: Hearing, instead: Instead) -> None:
        self._hearing = hearing
        self._instead = instead
        hearing.exchange.closing_frame = self._cut
        #: Whether the client has seen a part of the answer.
        self._sent = False

    async def run(self, frames: list[Frame]) -> None:
        """Relay from the first frames until the reply ends; they alone settle the status."""
        exchange = self._hearing.exchange
        while True:
            chunks: list[bytes] = []
            for frame in frames:
                if frame.kind == "delta":
                    tell_head(exchange, frame.head)
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
                    exchange.told = ()
            together = b"".join(chunks)
            if together:
                await exchange.begin()
                self._sent = True
                await exchange.write(together)
            frames = await self._hearing.frames()

    async def _end(self, frame: Frame, chunks: list[bytes]) -> None:
        exchange = self._hearing.exchange
        failure = self._hearing.failure(frame)
        if not chunks:
            tell(exchange, self._hearing.summary)
        if failure and not (chunks or self._sent) and (polite := self._instead(failure)):
            chunks = [data(chunk) for chunk in polite]
            exchange.told, failure = (*exchange.told, POLITE), None
        if failure and not chunks and not exchange.started:
            await refuse(exchange, failure)
            return
        await exchange.begin()
        await exchange.finish(b"".join([*chunks, self._error(failure) if failure else DONE]))

    def _cut(self) -> bytes:
        return self._error(CUT)

    def _error(self, failure: Failure) -> bytes:
        return data(error_json(failure, self._hearing.exchange.request_id))
