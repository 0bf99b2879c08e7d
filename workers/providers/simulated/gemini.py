"""Gemini's wire form at the simulated provider: its paths, key, errors and list of models."""

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import parse_qs

import msgspec

from workers.providers.simulated.chat import estimate_tokens
from workers.providers.simulated.embeddings import vector
from workers.providers.simulated.errors import Headers, RefusalError
from workers.providers.simulated.faults import Behaviour
from workers.providers.simulated.form import Chat, Incoming, Place, Refused, Whole, decoded
from workers.providers.simulated.gemini_chat import TORN, GeminiChat
from workers.providers.simulated.gemini_request import BatchEmbed, Embed, Generate, check

_PATH: Final = re.compile(r"/v1beta/(?:models|tunedModels)/([^/].*):([A-Za-z]+)")
_MODELS: Final = "/v1beta/models"
_TYPES: Final = "type.googleapis.com/google.rpc."
#: HTTP status -> the name of the code.
_STATUSES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
#: By the unit of a limit, the quota's metric and id.
_QUOTAS: Final[Mapping[str, tuple[str, str]]] = {
    "requests": ("generate_requests", "GenerateRequestsPerMinutePerProjectPerModel"),
    "tokens": ("generate_input_tokens", "GenerateInputTokensPerMinutePerProjectPerModel"),
    "insufficient_quota": ("generate_requests", "GenerateRequestsPerDayPerProjectPerModel"),
}

_generate = msgspec.json.Decoder(Generate)
_embed = msgspec.json.Decoder(Embed)
_batch = msgspec.json.Decoder(BatchEmbed)


class GeminiVectors(msgspec.Struct, frozen=True):
    """A request for embeddings, alone or in a batch."""

    model: str
    requests: list[Embed]
    batch: bool
    simulate: msgspec.Raw = msgspec.Raw()

    def cost(self, behaviour: Behaviour) -> int:  # noqa: ARG002 - every request has it
        return sum(estimate_tokens(len(one.text())) for one in self.requests)

    def whole(self, behaviour: Behaviour) -> bytes:
        vectors = [
            b'{"values":%b}' % vector(one.text(), one.output_dimensionality or behaviour.dimensions)
            for one in self.requests
        ]
        usage = b'"usageMetadata":{"promptTokenCount":%d}' % self.cost(behaviour)
        if self.batch:
            return b'{"embeddings":[%b],%b}' % (b",".join(vectors), usage)
        return b'{"embedding":%b,%b}' % (vectors[0], usage)


class GeminiForm:
    """The Gemini API's form."""

    torn = TORN

    def __init__(self) -> None:
        self._places: Mapping[str, Place] = {
            "generateContent": Chat(self, _read_whole),
            "streamGenerateContent": Chat(self, _read_stream),
            "embedContent": Whole(self, _read_embed),
            "batchEmbedContents": Whole(self, _read_batch),
        }

    def places(self) -> Mapping[str, Place]:
        return {}

    def find(self, path: str) -> Place | None:
        found = _PATH.fullmatch(path)
        return self._places.get(found[2]) if found else None

    def look_up(
        self,
        path: str,
        headers: Mapping[bytes, bytes],  # noqa: ARG002 - every form has it
        models: tuple[str, ...],
    ) -> bytes:
        if path == _MODELS:
            return msgspec.json.encode({"models": [_model(name) for name in models]})
        if path.startswith(f"{_MODELS}/"):
            return msgspec.json.encode(_model(path.removeprefix(f"{_MODELS}/")))
        return b""

    def key(self, headers: Mapping[bytes, bytes], query: bytes) -> str:  # noqa: ARG002 - never there
        return headers.get(b"x-goog-api-key", b"").decode("latin-1")

    def refusal(self, refusal: RefusalError, call_id: bytes) -> Refused:  # noqa: ARG002 - see look_up
        """Write an error; an unknown key is a bad request here, and hints are details."""
        status = 400 if refusal.status == 401 else refusal.status
        where = f"Invalid value at '{refusal.param}': " if refusal.param else ""
        error = {
            "code": status,
            "message": f"{where}{refusal.message}",
            "status": _STATUSES.get(status, "INTERNAL"),
            "details": list(_details(refusal)),
        }
        return Refused(status, msgspec.json.encode({"error": error}), [])

    def headers(self, call_id: bytes, took_ms: int) -> Headers:  # noqa: ARG002 - see look_up
        return [(b"server-timing", b"gfet4t7; dur=%d" % took_ms)]

    def limit_headers(self, name: bytes, limit: int, remaining: int, full_in_s: float) -> Headers:  # noqa: ARG002 - the API tells limits in errors alone
        return []


def _model(name: str) -> dict[str, object]:
    methods = ["generateContent", "embedContent"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def _read_whole(incoming: Incoming) -> GeminiChat:
    return _read_chat(incoming, streams=False)


def _read_stream(incoming: Incoming) -> GeminiChat:
    if parse_qs(incoming.query.decode("latin-1")).get("alt") != ["sse"]:
        raise RefusalError(400, "The simulation streams server-sent events alone: ask `alt=sse`.")
    return _read_chat(incoming, streams=True)


def _read_chat(incoming: Incoming, *, streams: bool) -> GeminiChat:
    model = _model_of(incoming)
    asked = decoded(_generate, incoming.body)
    check(asked, model)
    return GeminiChat(model, streams, asked)


def _read_embed(incoming: Incoming) -> GeminiVectors:
    return GeminiVectors(_model_of(incoming), [decoded(_embed, incoming.body)], batch=False)


def _read_batch(incoming: Incoming) -> GeminiVectors:
    model, requests = _model_of(incoming), decoded(_batch, incoming.body).requests
    if any(one.model != f"models/{model}" for one in requests):
        raise RefusalError(400, "requests: each has to name the model of the path.")
    return GeminiVectors(model, requests, batch=True)


def _model_of(incoming: Incoming) -> str:
    if not incoming.headers.get(b"x-goog-api-key"):
        told = "Method doesn't allow unregistered callers (callers without established identity)."
        raise RefusalError(403, told)
    found = _PATH.fullmatch(incoming.path)
    assert found is not None
    return found[1]


def _details(refusal: RefusalError) -> Iterator[Mapping[str, object]]:
    """Give what the code alone does not say: the quota, when to come back, the key's fault."""
    quota = _QUOTAS.get(refusal.kind[0]) if refusal.status == 429 else None
    if quota is not None:
        metric = f"generativelanguage.googleapis.com/{quota[0]}"
        violation = {"quotaMetric": metric, "quotaId": quota[1]}
        yield {"@type": f"{_TYPES}QuotaFailure", "violations": [violation]}
    retry_ms = dict(refusal.headers).get(b"retry-after-ms")
    if retry_ms is not None:
        yield {"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{int(retry_ms) / 1000:g}s"}
    if refusal.kind[1] == "invalid_api_key":
        domain = "googleapis.com"
        yield {"@type": f"{_TYPES}ErrorInfo", "reason": "API_KEY_INVALID", "domain": domain}
