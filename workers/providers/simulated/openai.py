"""OpenAI's wire form at the simulated provider: its paths, headers, errors and lists."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec

from workers.providers.simulated.chat import TORN, ChatRequest
from workers.providers.simulated.embeddings import EmbeddingRequest
from workers.providers.simulated.errors import Headers, RefusalError
from workers.providers.simulated.form import Chat, Incoming, Place, Refused, Whole, decoded
from workers.providers.simulated.limits import openai_limit

_MODELS: Final = "/v1/models"

_chat_decoder = msgspec.json.Decoder(ChatRequest)
_embedding_decoder = msgspec.json.Decoder(EmbeddingRequest)


class Model(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "model"
    created: int = 1_700_000_000
    owned_by: str = "simulated"


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    data: list[Model]
    object: str = "list"


class OpenAIForm:
    """OpenAI's form, which many speak."""

    torn = TORN
    limit_headers = staticmethod(openai_limit)

    def places(self) -> Mapping[str, Place]:
        return {
            "/v1/chat/completions": Chat(self, read_chat),
            "/v1/embeddings": Whole(self, read_embeddings),
        }

    def find(self, path: str) -> Place | None:  # noqa: ARG002 - every form has it
        return None

    def look_up(
        self,
        path: str,
        headers: Mapping[bytes, bytes],  # noqa: ARG002 - every form has it
        models: tuple[str, ...],
    ) -> bytes:
        if path == _MODELS:
            return msgspec.json.encode(ModelList(data=[Model(id=name) for name in models]))
        if path.startswith(f"{_MODELS}/"):
            return msgspec.json.encode(Model(id=unquote(path.removeprefix(f"{_MODELS}/"))))
        return b""

    def key(self, headers: Mapping[bytes, bytes], query: bytes) -> str:  # noqa: ARG002 - see find
        return headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")

    def refusal(self, refusal: RefusalError, call_id: bytes) -> Refused:  # noqa: ARG002 - see find
        return Refused(refusal.status, refusal.body, refusal.headers)

    def headers(self, call_id: bytes, took_ms: int) -> Headers:
        return [(b"x-request-id", b"req_" + call_id), (b"openai-processing-ms", b"%d" % took_ms)]


def read_chat(incoming: Incoming) -> ChatRequest:
    """Read a chat request; raises RefusalError, also for the choice of a tool that is not there."""
    request = decoded(_chat_decoder, incoming.body)
    request.called()
    return request


def read_embeddings(incoming: Incoming) -> EmbeddingRequest:
    """Read a request for embeddings."""
    return decoded(_embedding_decoder, incoming.body)
