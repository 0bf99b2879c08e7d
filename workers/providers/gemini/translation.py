"""Gemini's generateContent and embeddings, for those who speak OpenAI's form.

The API: https://ai.google.dev/api. What to say is the business of gemini/request.py,
gemini/contents.py and gemini/embeddings.py, what comes back that of gemini/reader.py.
"""

from typing import Final
from urllib.parse import quote

import httpx
import msgspec

from workers.providers.base import Answer, ProviderCall, Reply
from workers.providers.form import EmbeddingForm, Unfit, read
from workers.providers.gemini import embeddings, request
from workers.providers.gemini.reader import GeminiReader
from workers.providers.gemini.request import GeminiForm
from workers.providers.sending import post

#: Kinds of resources that can be asked; a bare name is a model.
_RESOURCES: Final = ("models/", "tunedModels/")
#: Of the API; a base URL may name one, as Google's own clients do.
_VERSIONS: Final = ("/v1beta", "/v1alpha", "/v1")

_encode = msgspec.json.Encoder().encode


class Gemini:
    """The translation for providers of the kind `gemini`."""

    def request(self, call: ProviderCall) -> httpx.Request:
        """Build the request; raises `UpstreamError` naming what Gemini cannot be told."""
        resource = _resource(call.model)
        try:
            method, body = _asked(call, resource)
        except Unfit as raised:
            raise raised.error(call) from raised
        version = "" if call.base_url.rstrip("/").endswith(_VERSIONS) else _VERSIONS[0]
        path = f"{version}/{quote(resource, safe='/:=,@')}:{method}"
        return post(call, path, body, (("x-goog-api-key", call.key),) if call.key else ())

    def reply(self, call: ProviderCall, answer: Answer) -> Reply:
        """Read a whole answer."""
        if call.operation == "embeddings":
            return embeddings.reply_of(call, answer, read(call, EmbeddingForm))
        return GeminiReader(call, answer).whole(answer.body)

    def reader(self, call: ProviderCall, head: Answer) -> GeminiReader:
        """Begin to read a stream."""
        return GeminiReader(call, head)


def _resource(model: str) -> str:
    return model if model.startswith(_RESOURCES) else f"models/{model}"


def _asked(call: ProviderCall, resource: str) -> tuple[str, bytes]:
    """Give the method with its query, and the body."""
    if call.operation == "embeddings":
        method, fields = embeddings.request_of(read(call, EmbeddingForm), resource)
        return method, _encode(fields)
    body = _encode(request.request_of(read(call, GeminiForm), call.model))
    return "streamGenerateContent?alt=sse" if call.stream else "generateContent", body
