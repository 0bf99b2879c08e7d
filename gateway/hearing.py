"""One client that waits for one reply: frames, silence, its deadline and its going away.

A request that is answered at once costs one timer; only who waits longer gets a task that
notices when the client is gone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from gateway.errors import LOST, STOPPING
from gateway.exchange import ClientGone, Exchange
from gateway.sse import PING
from pipeline.about import noted
from pipeline.errors import Failure, QueueTimeout
from pipeline.event import Closing, Summary
from pipeline.streams.inbox import Frame, Watch

log = logging.getLogger(__name__)

#: How long a request waits before somebody looks whether its client is still there.
PATIENCE_S: Final = 0.25

#: Most proxies cut a connection that is silent for 60 s.
PING_S: Final = 15.0

Cut = Literal["", "gone", "timeout", "stopping"]

_decode_closing: Final = msgspec.json.Decoder(Closing).decode


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """What ends or interrupts a wait."""

    #: Seconds until the client's timeout; 0: none.
    timeout_s: float = 0.0
    #: Seconds of silence after which a sign of life is sent; 0: none. The first one settles the
    #: status at 200, after which no refusal can be told by it: so the first is no sooner than the
    #: others, although a client would like to know its place in the waiting room at once.
    ping_s: float = 0.0
    #: Gives the sign of life for a request.
    sign: Callable[[str], Awaitable[bytes]] | None = None
    #: What to do when the client goes away.
    on_gone: Callable[[str], Awaitable[None]] | None = None


class Hearing:
    """The waiting of one exchange; close it in any case."""

    __slots__ = ("_deadline", "_hall", "_listening", "_loop", "_timer", "_wait", "cut",
                 "exchange", "pinging", "summary", "watch")  # fmt: skip

    def __init__(self, hall: "set[Hearing]", exchange: Exchange, watch: Watch, wait: Wait) -> None:
        self.exchange = exchange
        self.watch = watch
        #: Why no more frames come, when it is not the reply's own end.
        self.cut: Cut = ""
        self.pinging: asyncio.Task[None] | None = None
        #: Of the request's way, as its closing tells it.
        self.summary: Summary | None = None
        self._wait = wait
        self._hall = hall
        self._listening: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + wait.timeout_s if wait.timeout_s else 0.0
        first_s = min(PATIENCE_S, wait.timeout_s or PATIENCE_S, wait.ping_s or PATIENCE_S)
        self._timer = self._loop.call_later(first_s, self._look)
        hall.add(self)

    def follow(self, watch: Watch) -> None:
        """Wait for the reply of another request instead, which is not this client's to cancel."""
        self.watch.close()
        self.watch = watch
        self._wait = msgspec.structs.replace(self._wait, on_gone=None)

    async def frames(self) -> list[Frame]:
        """Wait for the next frame and give it with those that are there already."""
        ready = [await self.watch.next()]
        while frame := self.watch.pop_ready():
            ready.append(frame)
        return ready

    async def last(self) -> Frame:
        """Wait for the frame that ends the reply."""
        while True:
            frame = (await self.frames())[-1]
            if frame.kind in ("closing", "lost"):
                return frame

    def failure(self, frame: Frame) -> Failure | None:
        """Tell how a last frame says that the request failed; none: it was answered.

        Raises `ClientGone` when nobody is there to be told.
        """
        if frame.kind == "closing":
            closing = _decode_closing(frame.lines)
            self.summary = closing.summary
            if self.exchange.served:
                self.exchange.served.closing = closing
            if closing.status == "completed":
                return None
            return closing.failure or Failure(message=f"The request was {closing.status}.")
        match self.cut:
            case "gone":
                raise ClientGone
            case "timeout":
                text = "No answer came within the request's timeout."
                return QueueTimeout(text, retry_after_s=1).failure()
            case "stopping":
                return STOPPING
        return LOST

    def end(self, why: Cut) -> None:
        """Stop waiting: the next frame is the last one."""
        self.cut = self.cut or why
        self.watch.lose()

    def close(self) -> None:
        """Let go of the reply and of everything that was to interrupt the wait."""
        self._hall.discard(self)
        self._timer.cancel()
        self.watch.close()
        for task in (self._listening, self.pinging):
            if task:
                task.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if self._deadline and now >= self._deadline:
            self.end("timeout")
            return
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="listen")
        due = [self._deadline] if self._deadline else []
        if self._wait.ping_s:
            pinging = self.pinging and not self.pinging.done()
            if not pinging and now - self.exchange.wrote >= self._wait.ping_s:
                self.exchange.wrote = now
                self.pinging = asyncio.create_task(self._ping(), name="ping")
            due.append(max(now, self.exchange.wrote) + self._wait.ping_s)
        if due:
            self._timer = self._loop.call_at(min(due), self._look)

    async def _ping(self) -> None:
        exchange, began = self.exchange, self.exchange.wrote
        sign = await self._wait.sign(self.watch.request_id) if self._wait.sign else PING
        await exchange.begin()
        # While Redis was asked, frames may have gone out, or the end of the stream.
        if not exchange.finished and exchange.wrote == began:
            await exchange.write(sign)

    async def _listen(self) -> None:
        await self.exchange.until_gone()
        if not self.exchange.gone:
            return
        log.debug("Client went away", extra=noted(request=self.watch.request_id))
        if self._wait.on_gone:
            await self._wait.on_gone(self.watch.request_id)
        self.end("gone")
