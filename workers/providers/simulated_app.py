"""The simulated provider's ASGI app: it finds the endpoint, reads the request and its options,
and admits or refuses. Written without a router: load tests run it beside what they measure.
"""

import re
from urllib.parse import unquote

import msgspec
from starlette.types import Receive, Scope, Send

from pipeline import clock
from workers.providers.faults import (
    BadOptionError,
    Behaviour,
    failure,
    layer,
    read_model,
    read_object,
    read_pairs,
)
from workers.providers.simulated_answer import Call, answer_chat, answer_embeddings
from workers.providers.simulated_calls import Calls
from workers.providers.simulated_chat import ChatRequest
from workers.providers.simulated_embeddings import EmbeddingRequest
from workers.providers.simulated_errors import RefusalError
from workers.providers.simulated_limits import Accounts
from workers.providers.simulated_pace import Alarms

#: The models listed; every other name is served too.
MODELS = ("fast", "quality", "sim")
#: Behaviours remembered by what chose them.
MAX_BEHAVIOURS = 4096
_FAULT_PATH = re.compile(r"^(.*?)(?: - at `\$\.?([^`]*)`)?$")

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


class Simulator:
    """The app. A seed makes its chances and ids the same in every run."""

    def __init__(self, behaviour: Behaviour, seed: int | None = None) -> None:
        self._defaults = behaviour
        if seed is not None:
            clock.chance.seed(seed)
        self._behaviours: dict[tuple[str, bytes, bytes], Behaviour] = {}
        self._accounts = Accounts()
        self._calls = Calls()
        self._alarms = Alarms()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send, self._alarms)
        path = scope["path"]
        if path not in ("/v1/chat/completions", "/v1/embeddings"):
            await self._look_up(call, scope["method"], path)
        elif scope["method"] != "POST":
            await call.refuse(RefusalError(405, f"Use POST {path}."))
        else:
            self._calls.arrive(call.client_id)
            body = await call.read()
            if body is not None:
                await self._answer(call, body, chat=path == "/v1/chat/completions")

    async def _answer(self, call: Call, body: bytes, *, chat: bool) -> None:
        try:
            request = _decode(_chat_decoder if chat else _embedding_decoder, body)
            behaviour = self._admit(call, request)
        except RefusalError as refusal:
            await call.refuse(refusal)
        else:
            await self._carry_out(call, request, behaviour)
        finally:
            call.close()

    async def _carry_out(
        self, call: Call, request: ChatRequest | EmbeddingRequest, behaviour: Behaviour
    ) -> None:
        finished = False
        self._calls.start()
        try:
            if isinstance(request, ChatRequest):
                finished = await answer_chat(call, request, behaviour)
            else:
                finished = await answer_embeddings(call, request, behaviour)
        finally:
            self._calls.end(finished)

    def _admit(self, call: Call, request: ChatRequest | EmbeddingRequest) -> Behaviour:
        """Decide whether the call is answered, and how; raises RefusalError."""
        behaviour = self._behaviour(request.model, call.simulate, bytes(request.simulate))
        if behaviour.bad_key and call.key.startswith(behaviour.bad_key):
            raise RefusalError(401, f"Incorrect API key provided: {_masked(call.key)}.")
        if behaviour.quota:
            message = "You exceeded your current quota, as asked of the simulation."
            raise RefusalError(429, message, kind=("insufficient_quota", "insufficient_quota"))
        call.account = self._accounts.find(call.key, behaviour, call.began)
        if call.account is not None:
            answer = request.length(behaviour)[0] if isinstance(request, ChatRequest) else 0
            call.admit(request.prompt_tokens() + answer)
        attempt = self._calls.attempt(call.client_id, request.model) if behaviour.error_first else 1
        status = failure(behaviour, attempt, clock.chance.random)
        if status is not None:
            message = f"The simulated provider answers {status}, as asked."
            raise RefusalError(status, message, retry_ms=behaviour.retry_after_ms)
        return behaviour

    def _behaviour(self, model: str, header: bytes, simulate: bytes) -> Behaviour:
        chosen_by = (model, header, simulate)
        behaviour = self._behaviours.get(chosen_by)
        if behaviour is not None:
            return behaviour
        try:
            by_body = read_object(simulate) if simulate else {}
            by_header = read_pairs(header.decode("latin-1"))
            behaviour = layer(self._defaults, by_header, by_body, read_model(model))
        except BadOptionError as error:
            raise RefusalError(400, str(error), param=error.option) from None
        if len(self._behaviours) >= MAX_BEHAVIOURS:
            self._behaviours.clear()
        self._behaviours[chosen_by] = behaviour
        return behaviour

    async def _look_up(self, call: Call, method: str, path: str) -> None:
        """Answer what is not a simulated call."""
        match method, path:
            case "GET", "/health":
                await call.answer(b'{"status":"ok"}')
            case "GET", "/calls":
                await call.answer(msgspec.json.encode(self._calls.counts()))
            case "DELETE", "/calls":
                self._calls.reset()
                await call.answer(msgspec.json.encode(self._calls.counts()))
            case "GET", "/v1/models":
                models = ModelList(data=[Model(id=name) for name in MODELS])
                await call.answer(msgspec.json.encode(models))
            case "GET", _ if path.startswith("/v1/models/"):
                name = unquote(path.removeprefix("/v1/models/"))
                await call.answer(msgspec.json.encode(Model(id=name)))
            case _:
                kind = ("invalid_request_error", "unknown_url")
                await call.refuse(RefusalError(404, f"Unknown URL: {method} {path}", kind=kind))


def _decode(
    decoder: msgspec.json.Decoder[ChatRequest] | msgspec.json.Decoder[EmbeddingRequest],
    body: bytes,
) -> ChatRequest | EmbeddingRequest:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _FAULT_PATH.match(str(error))
        message, path = found.groups() if found else (str(error), None)
        raise RefusalError(400, f"{message}.", param=path) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RefusalError(400, "The request's body is not valid JSON.") from None


def _masked(key: str) -> str:
    return f"{key[:4]}***"
