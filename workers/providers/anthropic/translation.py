"""Anthropic's Messages API: the translation of its requests, answers and streams.

What it cannot express is refused here and never dropped. Embeddings it has none.
"""

from typing import Final

import httpx
import msgspec

from pipeline import clock
from workers.providers import verdict
from workers.providers.anthropic.reader import MessageReader
from workers.providers.anthropic.reply import (
    AnthropicMessage,
    finish_of,
    message_of,
    tier_of,
    usage_fields,
)
from workers.providers.anthropic.request import AnthropicForm, body_of
from workers.providers.assembly import counts_nothing, usage_of
from workers.providers.base import Answer, ProviderCall, Reply
from workers.providers.form import Unfit, read
from workers.providers.learning import seen
from workers.providers.sending import post

#: The version before 2026-10-21, which knows no temperature, top_p and top_k on any model; the
#: provider's `api_version` chooses another.
#: https://platform.claude.com/docs/en/api/migration-2026-10-21
VERSION: Final = "2023-06-01"

_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError)

_encode = msgspec.json.Encoder().encode
_whole = msgspec.json.Decoder(AnthropicMessage)


class Anthropic:
    """The translation."""

    def request(self, call: ProviderCall) -> httpx.Request:
        """Build the request of a message."""
        try:
            if call.operation != "chat":
                told = "Anthropic has no embeddings: give this model a deployment elsewhere."
                raise Unfit("model", told)
            body = body_of(call, read(call, AnthropicForm))
        except Unfit as raised:
            raise raised.error(call) from raised
        key = (("x-api-key", call.key),) if call.key else ()
        version = (("anthropic-version", call.api_version or VERSION),)
        return post(call, "/v1/messages", _encode(body), key + version)

    def reply(self, call: ProviderCall, answer: Answer) -> Reply:
        """Read a whole message."""
        try:
            message = _whole.decode(answer.body)
        except _NOT_JSON as raised:
            raise verdict.error_within(call, answer, answer.body) or verdict.garbage(
                call, answer, "The provider's answer is not a message of the API", answer.body
            ) from raised
        finish = finish_of(message.stop_reason)
        if not (message.content or finish):
            raise verdict.empty(call, answer)
        if call.fails_withheld and finish == "content_filter" and not message.content:
            raise verdict.withheld(call, answer)
        told = usage_fields(message.usage)
        usage = usage_of(told)
        choice = {
            "index": 0,
            "message": message_of(message),
            "logprobs": None,
            "finish_reason": finish,
        }
        whole = {
            "id": message.id,
            "object": "chat.completion",
            "created": int(clock.now()),
            "model": message.model,
            "choices": [choice],
            "usage": told,
            **tier_of(message.usage),
        }
        return Reply(
            response=_encode(whole),
            usage=usage,
            finish_reason=finish or "",
            model=message.model,
            upstream_id=message.id,
            status=answer.status,
            headers=answer.headers,
            empty=counts_nothing(usage) and not message.content,
            seen=seen(call.kind, answer.headers),
        )

    def reader(self, call: ProviderCall, head: Answer) -> MessageReader:
        """Begin to read a stream."""
        return MessageReader(call, head)
