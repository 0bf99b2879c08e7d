"""The simulated provider's ASGI app: it finds the form by the path, reads the request and its
options, and admits or refuses. Without a router: load tests run it beside what they measure.
"""

from collections.abc import Coroutine, Mapping
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from pipeline import clock
from workers.providers.simulated.answer import Call, answer_chat, answer_whole
from workers.providers.simulated.anthropic import AnthropicForm
from workers.providers.simulated.azure import AzureForm
from workers.providers.simulated.calls import Calls
from workers.providers.simulated.errors import RefusalError
from workers.providers.simulated.faults import (
    BadOptionError,
    Behaviour,
    failure,
    layer,
    read_model,
    read_object,
    read_pairs,
)
from workers.providers.simulated.form import Asked, Chat, Form, Incoming, Place
from workers.providers.simulated.gemini import GeminiForm
from workers.providers.simulated.limits import Accounts
from workers.providers.simulated.openai import OpenAIForm
from workers.providers.simulated.pace import Alarms

#: The models listed; every other name is served too.
MODELS = ("fast", "quality", "sim")
#: Behaviours remembered by what chose them.
MAX_BEHAVIOURS = 4096

#: The forms spoken, asked in this order; the last answers for what is nobody's.
FORMS: Final[tuple[Form, ...]] = (
    AnthropicForm(),
    GeminiForm(),
    AzureForm(),
    OpenAIForm(),
)
_PLACES: Final[Mapping[str, Place]] = {
    path: place for form in FORMS for path, place in form.places().items()
}


class Simulator:
    """The app. A seed makes its chances and ids the same in every run."""

    def __init__(self, behaviour: Behaviour, seed: int | None = None) -> None:
        self._started_with = self._defaults = behaviour
        if seed is not None:
            clock.chance.seed(seed)
        self._behaviours: dict[tuple[str, bytes, bytes], Behaviour] = {}
        self._accounts = Accounts()
        self._calls = Calls()
        self._alarms = Alarms()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        place = _PLACES.get(path) or _find(path)
        form = FORMS[-1] if place is None else place.form
        call = Call(form, scope, receive, send, self._alarms)
        if place is None:
            await self._look_up(call, scope["method"], path)
        elif scope["method"] != "POST":
            await call.refuse(RefusalError(405, f"Use POST {path}."))
        else:
            self._calls.arrive(call.client_id)
            incoming = await call.read()
            if incoming is not None:
                await self._answer(call, place, incoming)

    async def _answer(self, call: Call, place: Place, incoming: Incoming) -> None:
        try:
            if isinstance(place, Chat):
                chat = place.read(incoming)
                answer = answer_chat(call, chat, self._admit(call, chat))
            else:
                asked = place.read(incoming)
                answer = answer_whole(call, asked, self._admit(call, asked))
        except RefusalError as refusal:
            await call.refuse(refusal)
        else:
            await self._carry_out(answer)
        finally:
            call.close()

    async def _carry_out(self, answer: Coroutine[None, None, bool]) -> None:
        finished = False
        self._calls.start()
        try:
            finished = await answer
        finally:
            self._calls.end(finished)

    def _admit(self, call: Call, request: Asked) -> Behaviour:
        """Decide whether the call is answered, and how; raises RefusalError."""
        behaviour = self._behaviour(request.model, call.simulate, bytes(request.simulate))
        if behaviour.bad_key and call.key.startswith(behaviour.bad_key):
            raise RefusalError(401, f"Incorrect API key provided: {_masked(call.key)}.")
        if behaviour.quota:
            message = "You exceeded your current quota, as asked of the simulation."
            raise RefusalError(429, message, kind=("insufficient_quota", "insufficient_quota"))
        call.account = self._accounts.find(call.key, behaviour, call.began)
        if call.account is not None:
            call.admit(request.cost(behaviour))
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
            case "GET", "/behaviour":
                await call.answer(msgspec.json.encode(self._defaults))
            case "PUT", "/behaviour":
                await self._behave(call)
            case _:
                body = _looked_up(call, path) if method == "GET" else b""
                if body:
                    await call.answer(body)
                    return
                kind = ("invalid_request_error", "unknown_url")
                await call.refuse(RefusalError(404, f"Unknown URL: {method} {path}", kind=kind))

    async def _behave(self, call: Call) -> None:
        """Take options that hold for all calls to come, over those that it was started with."""
        incoming = await call.read()
        if incoming is None:
            return
        try:
            self._defaults = layer(self._started_with, read_object(incoming.body))
        except BadOptionError as error:
            await call.refuse(RefusalError(400, str(error), param=error.option))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            await call.refuse(RefusalError(400, "The request's body is not valid JSON."))
        else:
            self._behaviours.clear()
            await call.answer(msgspec.json.encode(self._defaults))


def _find(path: str) -> Place | None:
    return next((place for form in FORMS if (place := form.find(path))), None)


def _looked_up(call: Call, path: str) -> bytes:
    for form in FORMS:
        body = form.look_up(path, call.headers, MODELS)
        if body:
            call.form = form
            return body
    return b""


def _masked(key: str) -> str:
    return f"{key[:4]}***"
