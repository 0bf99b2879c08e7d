"""Plain calls with a whole answer: `/complete`, asked by model group, and `/embeddings`.

`/complete` takes `{messages, model?, tenant_id?, metadata?}` and whatever the provider is to have,
and answers `{id, content, model, usage, finish_reason, tenant_id, metadata}`.
"""

from typing import Final

import msgspec

from gateway.asking import Asked, messages_checked
from gateway.exchange import Exchange
from gateway.gateway import Gateway
from gateway.reading import bounded, event_of, read
from gateway.whole import answer_whole, wanted
from pipeline.errors import BadRequest
from pipeline.event import NO_BODY
from pipeline.limits.estimate import of_chat, of_embeddings
from pipeline.needs import cache_key_of, needs_of

#: Fields of the body that are for us; everything else goes to the provider.
_OURS: Final = ("tenant_id", "metadata", "priority", "model_preferences", "follows")

_NULL: Final = msgspec.Raw(b"null")


class CompleteBody(Asked, frozen=True, kw_only=True):
    """What we read of the body of `/complete`."""

    messages: msgspec.Raw
    model: str | None = None
    stream: bool | None = None
    #: For whom the caller asks: our tenant's user, as limits and fairness know it.
    tenant_id: str | None = None
    #: The caller's own facts: echoed, and in `done`; no provider sees them.
    metadata: msgspec.Raw = NO_BODY


class PlainEmbeddingsBody(Asked, frozen=True, kw_only=True):
    """What we read of the body of `/embeddings`."""

    input: msgspec.Raw
    model: str | None = None


class Completed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer of `/complete`."""

    id: str
    content: msgspec.Raw
    #: That which answered, as its provider names it.
    model: str
    usage: msgspec.Raw
    finish_reason: str | None
    tool_calls: msgspec.Raw = NO_BODY
    tenant_id: str | None = None
    metadata: msgspec.Raw = NO_BODY
    #: That the answer stands for an error, and for which.
    sluice: msgspec.Raw = NO_BODY


class _Message(msgspec.Struct):
    content: msgspec.Raw = _NULL
    tool_calls: msgspec.Raw = NO_BODY


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Response(msgspec.Struct):
    choices: list[_Choice]
    model: str = ""
    usage: msgspec.Raw = _NULL
    sluice: msgspec.Raw = NO_BODY


_complete: Final = msgspec.json.Decoder(CompleteBody)
_embeddings: Final = msgspec.json.Decoder(PlainEmbeddingsBody)
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_response: Final = msgspec.json.Decoder(_Response).decode
_encode: Final = msgspec.json.Encoder().encode


class PlainCalls:
    """The routes `/complete` and `/embeddings`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def complete(self, exchange: Exchange) -> None:
        """POST /complete: the answer's text; an error only when no deployment could answer."""
        gateway = self._gateway
        reading = await read(gateway, exchange, _complete)
        asked = reading.asked
        messages_checked(asked.messages)
        if asked.stream:
            raise BadRequest(
                "/complete answers whole; streams are at /v1/chat/completions and /chat.",
                param="stream",
            )
        event = event_of(gateway, reading, asked.model or gateway.settings.gateway.default_model)
        body = _body(reading.body, event.model)
        size = of_chat(body, asked)
        event = msgspec.structs.replace(
            event,
            body_bytes=len(body),
            user=event.user or bounded(asked.tenant_id or "", "'tenant_id'", "tenant_id"),
            metadata=asked.metadata,
            prompt_tokens=size.prompt_tokens,
            output_tokens=size.output_tokens,
            needs=needs_of(asked),
            sticky=cache_key_of(asked),
        )
        asking, later = wanted(gateway, reading, event, body)
        await answer_whole(gateway, asking, later, lambda told: _shown(told, exchange, asked))

    async def embeddings(self, exchange: Exchange) -> None:
        """POST /embeddings: as `/v1/embeddings`, with the usual model and floats unless asked."""
        gateway = self._gateway
        reading = await read(gateway, exchange, _embeddings)
        asked = reading.asked
        usual = gateway.settings.gateway
        usual_model = usual.default_embedding_model or usual.default_model
        event = event_of(gateway, reading, asked.model or usual_model, "embeddings")
        body = _body(reading.body, event.model)
        event = msgspec.structs.replace(
            event,
            body_bytes=len(body),
            prompt_tokens=of_embeddings(body, asked.input).prompt_tokens,
        )
        asking, later = wanted(gateway, reading, event, body)
        await answer_whole(gateway, asking, later)


def _body(raw: bytes, model: str) -> bytes:
    """Write the OpenAI body that a plain one stands for."""
    fields = {name: value for name, value in _fields(raw).items() if name not in _OURS}
    return _encode({**fields, "model": model})


def _shown(response: bytes, exchange: Exchange, asked: CompleteBody) -> bytes:
    told = _response(response)
    choice = told.choices[0]
    completed = Completed(
        id=exchange.request_id,
        content=choice.message.content,
        model=told.model,
        usage=told.usage,
        finish_reason=choice.finish_reason,
        tool_calls=choice.message.tool_calls,
        tenant_id=asked.tenant_id,
        metadata=asked.metadata,
        sluice=told.sluice,
    )
    return _encode(completed)
