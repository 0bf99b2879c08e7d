"""Carries one simulated call out over ASGI: the waiting, the bytes, the wished-for faults."""

import asyncio

from starlette.types import Receive, Scope, Send

from pipeline import clock
from workers.providers.simulated.errors import Headers, RefusalError
from workers.providers.simulated.faults import Behaviour
from workers.providers.simulated.form import AskedChat, AskedWhole, Form, Incoming, Torn, Written
from workers.providers.simulated.limits import Account
from workers.providers.simulated.pace import Alarms, Pace, Presence

JSON = (b"content-type", b"application/json")
EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
NO_CACHE = (b"cache-control", b"no-cache")


class Call:
    """One call that came in: what it sent along, and the way back to its client."""

    __slots__ = (
        *("_admitted", "_loop", "_receive", "_scope", "_send", "account", "began", "call_id"),
        *("client_id", "form", "headers", "key", "presence", "simulate"),
    )

    def __init__(
        self, form: Form, scope: Scope, receive: Receive, send: Send, alarms: Alarms
    ) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        self.form = form
        self.headers = headers
        self._scope = scope
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._admitted = False
        self.presence = Presence(receive, alarms)
        self.began = self._loop.time()
        self.call_id = b"%032x" % clock.chance.getrandbits(128)
        self.client_id = headers.get(b"x-client-request-id")
        self.simulate = headers.get(b"x-simulate", b"")
        self.key = form.key(headers, scope["query_string"])
        self.account: Account | None = None

    def admit(self, tokens: int) -> None:
        """Draw on the key's account, if it has one; raises RefusalError."""
        if self.account is not None:
            self.account.admit(tokens, self.began)
            self._admitted = True

    def close(self) -> None:
        """Give back what the call held."""
        self.presence.close()
        if self._admitted and self.account is not None:
            self.account.release()

    async def read(self) -> Incoming | None:
        """Return the request, or None when the client went away before its end."""
        message = await self._receive()
        pieces: list[bytes] = [message.get("body", b"")]
        while message.get("more_body"):
            message = await self._receive()
            pieces.append(message.get("body", b""))
        if message["type"] == "http.disconnect":
            return None
        scope = self._scope
        return Incoming(scope["path"], scope["query_string"], self.headers, b"".join(pieces))

    async def start(self, status: int, *headers: tuple[bytes, bytes]) -> None:
        """Send the status and the headers, those of the limits among them."""
        now = self._loop.time()
        form = self.form
        limits: Headers = self.account.headers(now, form.limit_headers) if self.account else []
        always = form.headers(self.call_id, int((now - self.began) * 1000))
        message = {"type": "http.response.start", "status": status}
        await self._send(message | {"headers": [*headers, *always, *limits]})

    async def write(self, body: bytes, *, more: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer(self, body: bytes, status: int = 200, headers: Headers | None = None) -> None:
        """Send a whole answer in JSON."""
        length = (b"content-length", b"%d" % len(body))
        await self.start(status, JSON, length, *(headers or ()))
        await self.write(body)

    async def refuse(self, refusal: RefusalError) -> None:
        refused = self.form.refusal(refusal, self.call_id)
        await self.answer(refused.body, refused.status, refused.headers)

    async def until(self, due_s: float) -> bool:
        """Sleep until so long after the call came in; False when its client has gone."""
        return await self.presence.until(self.began + due_s)

    def elapsed_s(self) -> float:
        return self._loop.time() - self.began


async def answer_whole(call: Call, request: AskedWhole, behaviour: Behaviour) -> bool:
    """Answer with what comes whole, such as vectors; False when the client went away first."""
    if behaviour.hang:
        return await _hang(call)
    if not await call.until(Pace(behaviour, 0, clock.chance.random).due(0)):
        return False
    await _give_whole(call, request.whole(behaviour), behaviour)
    return True


async def answer_chat(call: Call, request: AskedChat, behaviour: Behaviour) -> bool:
    """Answer a chat request; False when the client went away first."""
    if behaviour.hang:
        return await _hang(call)
    reply = request.written(behaviour, call.call_id, int(clock.now()))
    pace = Pace(behaviour, reply.tokens, clock.chance.random)
    if request.streams:
        return await _stream(call, reply, behaviour, pace)
    if not await call.until(pace.due(max(0, reply.tokens - 1))):
        return False
    await _give_whole(call, reply.body(), behaviour)
    return True


async def _hang(call: Call) -> bool:
    await call.presence.gone()
    return False


async def _give_whole(call: Call, body: bytes, behaviour: Behaviour) -> None:
    if behaviour.error_at is not None:
        await call.refuse(RefusalError(500, "The simulated call broke, as asked."))
    elif behaviour.cut_at is not None:
        # Returning before the promised length makes the server close the socket.
        await call.start(200, JSON, (b"content-length", b"%d" % len(body)))
        await call.write(body[: len(body) // 2], more=True)
    else:
        await call.answer(call.form.torn.garbage_body if behaviour.garbage is not None else body)


async def _stream(call: Call, reply: Written, behaviour: Behaviour, pace: Pace) -> bool:
    end, closing = _ending(reply, behaviour, call.form.torn)
    garbage_at, garbage = _garbage_at(behaviour, end), call.form.torn.garbage_frame
    token, due_s, out = 0, pace.due(0), reply.head()
    while await call.until(due_s):
        if not token:
            await call.start(200, EVENT_STREAM, NO_CACHE)
        following, due_s = pace.reach(token, end, call.elapsed_s())
        if token <= garbage_at < max(following, 1):
            out += reply.frames(token, garbage_at) + garbage
            out += reply.frames(garbage_at, following)
        else:
            out += reply.frames(token, following)
        if following >= end:
            # Without a closing the response stays open, and the server closes the socket.
            await call.write(out + closing, more=not closing)
            return True
        await call.write(out, more=True)
        token, out = following, b""
    return False


def _ending(reply: Written, behaviour: Behaviour, torn: Torn) -> tuple[int, bytes]:
    """Tell after how many tokens a stream ends, and with what; a cut ends it with nothing."""
    cut_at, error_at = behaviour.cut_at, behaviour.error_at
    if cut_at is not None and (error_at is None or cut_at <= error_at):
        return min(cut_at, reply.tokens), b""
    if error_at is not None:
        return min(error_at, reply.tokens), torn.error_frame
    return reply.tokens, reply.tail()


def _garbage_at(behaviour: Behaviour, end: int) -> int:
    """Tell before which token the garbage comes; -1 is never."""
    return -1 if behaviour.garbage is None else min(behaviour.garbage, max(0, end - 1))
