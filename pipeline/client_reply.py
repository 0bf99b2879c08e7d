"""One reply as the Python client hears it, and what it gives of it: answers, chunks, states."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Final

import msgspec

from pipeline.client_errors import failed, unknown
from pipeline.content import content_of, first_choice
from pipeline.errors import Failure, QueueTimeout
from pipeline.event import ENDED, Closing, Status, Usage
from pipeline.limits.view import Place
from pipeline.streams.inbox import Frame, Watch

_decode_closing: Final = msgspec.json.Decoder(Closing).decode
_decode_failure: Final = msgspec.json.Decoder(Failure).decode


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer to a request."""

    id: str
    #: The text of the first choice; empty where there is none (embeddings, tool calls).
    content: str
    #: The provider's whole response as JSON; empty where only the stream's chunks were kept.
    response: bytes
    usage: Usage | None
    finish_reason: str
    status: Status

    def json(self) -> dict[str, object]:
        """Read the response; empty where only chunks were kept."""
        return msgspec.json.decode(self.response or b"{}", type=dict[str, object])


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a streamed answer; the last one tells how it ended."""

    request_id: str
    #: Its place in the reply: give it to `resume` to go on behind it.
    entry: str
    #: The text that it adds to the first choice.
    content: str = ""
    #: The provider's chunks in it, as JSON.
    lines: tuple[bytes, ...] = ()
    #: Whether the answer begins anew here: what came before no longer counts.
    restarts: bool = False
    #: In the last one: why the provider stopped, and the tokens that it counted.
    finish_reason: str = ""
    usage: Usage | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request is; points in time are Unix seconds."""

    id: str
    status: Status
    model: str
    created: float
    started: float | None
    finished: float | None
    #: Provider calls begun.
    attempts: int
    #: On the ladder: the seconds of its rung, and when it goes on.
    rung: int | None
    due: float | None
    #: In the waiting room: its place (1 is next), and seconds until its turn where known.
    position: int | None
    eta_s: float | None
    failure: Failure | None

    @property
    def has_ended(self) -> bool:
        """Whether it is completed, failed or cancelled."""
        return self.status in ENDED


def state_of(request_id: str, record: Mapping[str, bytes], place: Place | None) -> State:
    """Read a request's record, beside its place in the waiting room."""
    failure = record.get("failure")
    return State(
        id=request_id,
        status=msgspec.convert(record.get("status", b"queued").decode(), Status),
        model=record.get("model", b"").decode(),
        created=float(record.get("created", b"0")),
        started=_number(record, "started"),
        finished=_number(record, "finished"),
        attempts=int(record.get("attempts", b"0")),
        rung=int(record["rung"]) if "rung" in record else None,
        due=_number(record, "due"),
        position=place.position if place else None,
        eta_s=place.eta_s if place else None,
        failure=_decode_failure(failure) if failure else None,
    )


def _number(record: Mapping[str, bytes], name: str) -> float | None:
    return float(record[name]) if record.get(name) else None


class Hearing:
    """The waiting for one reply; close it in any case.

    What is needed before frames come (accepting, attaching) runs beside the waiting, so that
    neither a timeout nor the client's closing has to wait for Redis.
    """

    def __init__(self, hall: "set[Hearing]", watch: Watch, timeout_s: float | None) -> None:
        """Begin to wait, for so many seconds at the most."""
        self.watch = watch
        self.request_id = watch.request_id
        self._hall = hall
        self._cut: BaseException | None = None
        self._opening: asyncio.Task[None] | None = None
        self._fetching: asyncio.Task[bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if timeout_s is not None:
            self._timer = asyncio.get_running_loop().call_later(timeout_s, self._time_out)
        hall.add(self)

    def begin(self, opening: Coroutine[None, None, None]) -> None:
        """Do what makes frames come; if it fails, the waiting fails with it."""
        self._opening = asyncio.create_task(opening, name="open reply")
        self._opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Task[None]) -> None:
        error = None if opening.cancelled() else opening.exception()
        if error:
            self.end(error)

    def _time_out(self) -> None:
        text = "No answer came in time; what was accepted goes on, and can be asked for by its id."
        self.end(failed(QueueTimeout(text, retry_after_s=1).failure(), self.request_id))

    async def frames(self) -> list[Frame]:
        """Wait for the next frame and give it with those that are there already."""
        while True:
            watch = self.watch
            ready = [await watch.next()]
            if watch is self.watch:
                break
        while frame := watch.pop_ready():
            ready.append(frame)
        return ready

    def follow(self, watch: Watch) -> None:
        """Go over to another request's reply, which answers in this one's place."""
        if self._cut:
            watch.close()
            return
        old, self.watch, self.request_id = self.watch, watch, watch.request_id
        old.close()
        old.lose()

    def closing(self, frame: Frame) -> Closing:
        """Read a reply's last frame. Raises `RequestFailed` and `ClientClosed`."""
        if frame.kind == "lost":
            raise self._cut or unknown(self.request_id)
        closing = _decode_closing(frame.lines)
        if closing.status == "completed":
            return closing
        failure = closing.failure or Failure(message=f"The request was {closing.status}.")
        raise failed(failure, self.request_id)

    async def fetch(self, fetching: Coroutine[None, None, bytes]) -> bytes:
        """Wait for what is still missing after the last frame, no longer than for frames."""
        self._fetching = asyncio.create_task(fetching, name="fetch response")
        try:
            return await self._fetching
        except asyncio.CancelledError:
            if self._cut and self._fetching.cancelled():
                raise self._cut from None
            raise

    def end(self, why: BaseException) -> None:
        """Stop waiting: the next frame is the last one."""
        self._cut = self._cut or why
        self.watch.lose()
        if self._fetching:
            self._fetching.cancel()

    def close(self) -> None:
        """Let go of the reply."""
        self._hall.discard(self)
        self.watch.close()
        if self._timer:
            self._timer.cancel()
        for task in (self._opening, self._fetching):
            if task:
                task.cancel()


#: Fetches the whole response of a request that has ended.
Fetch = Callable[[str], Coroutine[None, None, bytes]]


async def answer(hearing: Hearing, fetch: Fetch) -> Answer:
    """Hear a reply up to its end and give it whole. Raises `RequestFailed`, `ClientClosed`."""
    deltas: list[bytes] = []
    while True:
        for frame in await hearing.frames():
            if frame.kind == "delta":
                deltas.append(frame.lines)
            elif frame.kind == "restart":
                deltas.clear()
            else:
                return await _answered(hearing, frame, deltas, fetch)


async def _answered(hearing: Hearing, frame: Frame, deltas: list[bytes], fetch: Fetch) -> Answer:
    closing = hearing.closing(frame)
    response = frame.response
    if not response and not deltas:
        response = await hearing.fetch(fetch(hearing.request_id))
    return Answer(
        id=hearing.request_id,
        content=content_of(b"\n".join(deltas)) if deltas else _content(response),
        response=response,
        usage=closing.usage,
        finish_reason=closing.finish_reason,
        status=closing.status,
    )


def _content(response: bytes) -> str:
    whole = first_choice(response)
    return (whole.message.content if whole and whole.message else "") or ""


async def chunks(hearing: Hearing, fetch: Fetch) -> AsyncGenerator[Chunk, None]:
    """Give a reply's chunks as they come, the last one with its end.

    A request that did not ask for a stream has one chunk. Raises `RequestFailed`, `ClientClosed`.
    """
    seen = restarts = False
    while True:
        for frame in await hearing.frames():
            if frame.kind == "restart":
                restarts = seen
            elif frame.kind == "delta":
                chunk = _chunk(hearing.request_id, frame)
                yield msgspec.structs.replace(chunk, restarts=True) if restarts else chunk
                seen, restarts = True, False
            else:
                yield await _last_chunk(hearing, frame, fetch)
                return


async def _last_chunk(hearing: Hearing, frame: Frame, fetch: Fetch) -> Chunk:
    closing = hearing.closing(frame)
    content = ""
    if not closing.deltas:
        content = _content(await hearing.fetch(fetch(hearing.request_id)))
    return Chunk(
        request_id=hearing.request_id,
        entry=frame.entry,
        content=content,
        finish_reason=closing.finish_reason,
        usage=closing.usage,
    )


def _chunk(request_id: str, frame: Frame) -> Chunk:
    return Chunk(
        request_id=request_id,
        entry=frame.entry,
        content=content_of(frame.lines),
        lines=tuple(frame.lines.split(b"\n")),
    )
