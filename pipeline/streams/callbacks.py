"""Delivers results to the streams that direct producers named, once for each request.

The results of shadows go to a side stream of ours instead.
"""

import logging

import msgspec
import redis.exceptions

from pipeline import clock
from pipeline import event as events
from pipeline.about import about, said
from pipeline.event import Event, Usage
from pipeline.names import Names
from pipeline.streams.link import Argument, Link, LinkError
from pipeline.streams.scripts import CALLBACK
from pipeline.tracing import context_of

log = logging.getLogger(__name__)


class Result(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A result as a direct producer gets it; `status` is success or error."""

    request_id: str
    status: str
    content: str | None = None
    error: str | None = None
    error_code: str | None = None
    usage: Usage | None = None
    processing_time_ms: float
    model_used: str | None = None
    timestamp: str
    response: msgspec.Raw = events.NO_BODY
    metadata: msgspec.Raw = events.NO_BODY
    #: The request of which this one is a replay.
    replay_of: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None


class _Response(msgspec.Struct):
    model: str | None = None
    choices: list[_Choice] = []


class Callbacks:
    """Writes the result of what ended to the stream its producer named."""

    def __init__(self, link: Link, names: Names, max_entries: int) -> None:
        self._link = link
        self._names = names
        #: Entries kept in a callback stream, more or less; may be changed at any time.
        self.max_entries = max_entries

    async def deliver(self, event: Event) -> None:
        """Deliver one result; done twice, it is written once.

        A shadow's goes to the side stream, which is ours, and to nobody else. Any other stream
        that cannot be written (it lies in our own namespace, or its key holds something else) is
        noted in the request's record and given up.
        """
        record = self._names.record(event.id)
        stream = self._names.shadow if event.shadow else event.reply_to
        if stream.startswith(f"{self._names.prefix}:") and not event.shadow:
            log.warning("Callback was refused: it names a stream of ours", extra=about(event))
            await self._ask("HSET", record, "callback", "refused: it names a stream of ours")
            return
        response = await self._ask("HGET", record, "response") or b""
        payload = msgspec.json.encode(_result(event, response))
        context = [part for field in context_of(event).items() for part in field]
        args: list[Argument] = [
            self._names.prefix, event.id, payload, self.max_entries, event.leg, *context,
        ]  # fmt: skip
        while True:
            try:
                written = (await self._link.run(CALLBACK, [stream], args)).decode()
            except LinkError:
                await self._link.up()
            except redis.exceptions.ResponseError as error:
                log.warning("Redis refused a callback", extra=about(event, reason=said(error)))
                return
            else:
                break
        if written not in {"written", "repeated"}:
            log.warning("Callback was not written", extra=about(event, reason=written))

    async def _ask(self, *command: str) -> bytes | None:
        while True:
            try:
                reply: bytes | None = await self._link.call(*command)
            except LinkError:
                await self._link.up()
            else:
                return reply


def _result(event: Event, response: bytes) -> Result:
    now = clock.now()
    result = Result(
        request_id=event.id,
        status="success" if event.status == "completed" else "error",
        processing_time_ms=round((now - event.created) * 1000, 2),
        timestamp=clock.rfc3339(now),
        metadata=event.metadata,
        replay_of=event.replay_of or None,
    )
    if event.failure:
        result.error = event.failure.message
        result.error_code = event.failure.code
    elif response:
        result.content, result.model_used = _read(response)
        result.usage = event.usage
        result.response = msgspec.Raw(response)
    return result


def _read(response: bytes) -> tuple[str | None, str | None]:
    """Give the first choice's text and the model, where a response has them in that form."""
    try:
        parsed = msgspec.json.decode(response, type=_Response)
    except msgspec.MsgspecError:
        return None, None
    message = parsed.choices[0].message if parsed.choices else None
    return message.content if message else None, parsed.model
