"""Azure's wire form at the simulated provider: OpenAI's, at Azure's paths and with its key."""

import re
from collections.abc import Mapping
from typing import Final

from workers.providers.simulated.errors import Headers
from workers.providers.simulated.form import Chat, Place, Whole
from workers.providers.simulated.openai import OpenAIForm, read_chat, read_embeddings

_DEPLOYMENT: Final = re.compile(r"/openai/deployments/[^/]+/(chat/completions|embeddings)")


class AzureForm(OpenAIForm):
    """The v1 form and the deployments' form; the model is taken from the body in both."""

    def __init__(self) -> None:
        self._chat = Chat(self, read_chat)
        self._embeddings = Whole(self, read_embeddings)

    def places(self) -> Mapping[str, Place]:
        return {
            "/openai/v1/chat/completions": self._chat,
            "/openai/v1/embeddings": self._embeddings,
        }

    def find(self, path: str) -> Place | None:
        found = _DEPLOYMENT.fullmatch(path)
        if found is None:
            return None
        return self._chat if found[1] == "chat/completions" else self._embeddings

    def look_up(
        self,
        path: str,  # noqa: ARG002 - every form has it
        headers: Mapping[bytes, bytes],  # noqa: ARG002 - every form has it
        models: tuple[str, ...],  # noqa: ARG002 - every form has it
    ) -> bytes:
        return b""

    def key(self, headers: Mapping[bytes, bytes], query: bytes) -> str:
        key = headers.get(b"api-key", b"").decode("latin-1")
        return key or super().key(headers, query)

    def headers(self, call_id: bytes, took_ms: int) -> Headers:
        return [(b"apim-request-id", call_id), *super().headers(call_id, took_ms)]
