"""`sluice send --via redis`: a direct producer, in the form that any language can write.

It adds the request to its stream with XADD, reads the deltas from the reply stream as they come,
and the result from a callback stream of its own.
"""

import sys
from typing import Final

import msgspec
import redis

from pipeline import clock
from pipeline.cli.asking import Asking, Chunk, text_of
from pipeline.cli.entries import Entry, read_new
from pipeline.cli.gateway_call import Answered
from pipeline.cli.place import Place
from pipeline.event import NO_BODY, Closing
from pipeline.names import EVENT_FIELD, lane_of

_BLOCK_S: Final = 5.0
#: How long the callback may come after the closing; it is written by a step of its own.
_CALLBACK_WAIT_S: Final = 5.0

#: A callback may come after a day on the ladder; then a stream that nobody deleted goes by itself.
_KEPT_S: Final = 172_800

#: A closing's entry id ends with this; a delta's never does.
_CLOSING_ID: Final = b"999999999-0"


class _Result(msgspec.Struct):
    """The entry of a callback stream."""

    status: str
    content: str | None = None
    error: str | None = None
    response: msgspec.Raw = NO_BODY


def run(place: Place, asking: Asking) -> None:
    """Add the request to its stream and print what comes back."""
    request_id = clock.new_id()
    callback = f"{place.names.prefix}-cli:{request_id}"
    body = {**asking.chat_body(), "request_id": request_id}
    with place.client(block_s=_BLOCK_S) as client:
        if not asking.detached:
            body["reply_to"] = callback
            _prepare(client, callback)
        lane = place.names.requests[lane_of(asking.priority)]
        client.xadd(lane, {EVENT_FIELD: msgspec.json.encode(body)})
        if asking.detached:
            print(request_id)
            return
        print(f"request {request_id}", file=sys.stderr)
        _Answer(client, asking, callback).follow(place.names.reply(request_id))


def _prepare(client: redis.Redis, callback: str) -> None:
    """Make the callback stream with an end of its own, should we not be there to delete it."""
    client.xgroup_create(callback, "send", mkstream=True)
    client.expire(callback, _KEPT_S)


class _Answer:
    """The answer to one request, as it comes."""

    def __init__(self, client: redis.Redis, asking: Asking, callback: str) -> None:
        self._client = client
        self._asking = asking
        self._callback = callback.encode()
        self._shown = False
        #: A call that is run again begins a new generation of the reply.
        self._generation = b""
        self._closing: Closing | None = None
        self._closed_at = 0.0

    def follow(self, reply: str) -> None:
        """Print until the result is there."""
        places: dict[bytes, bytes] = {self._callback: b"0"}
        if self._asking.stream:
            places[reply.encode()] = b"0"
        result = None
        while result is None and not self._is_overdue():
            result = self._take(places)
        self._break_line()
        if result is not None:
            self._client.delete(self._callback)
            self._end(result)
        elif self._closing and self._closing.failure:
            raise Answered(self._closing.failure.message)
        elif not self._shown:
            raise Answered("the request ended, and no callback came")

    def _is_overdue(self) -> bool:
        return self._closing is not None and clock.monotonic() > self._closed_at + _CALLBACK_WAIT_S

    def _take(self, places: dict[bytes, bytes]) -> bytes | None:
        """Take in what has come; gives the callback's payload if it is among it."""
        result = None
        # Deltas first: the callback may have overtaken them in the order of the streams.
        read = read_new(self._client, places, _BLOCK_S)
        for stream, entries in sorted(read, key=lambda each: each[0] == self._callback):
            places[stream] = entries[-1][0]
            if stream == self._callback:
                result = entries[0][1][EVENT_FIELD.encode()]
            else:
                self._show_all(entries)
        return result

    def _show_all(self, entries: list[Entry]) -> None:
        for entry, fields in entries:
            self._show(entry, fields[EVENT_FIELD.encode()])

    def _show(self, entry: bytes, lines: bytes) -> None:
        if entry.endswith(_CLOSING_ID):
            self._closed_at = clock.monotonic()
            self._closing = msgspec.json.decode(lines, type=Closing)
            return
        generation = entry.partition(b"-")[0]
        if self._shown and generation != self._generation:
            self._break_line()
            print("sluice: its worker was lost; the answer begins again", file=sys.stderr)
        self._generation = generation
        for line in lines.split(b"\n"):
            if self._asking.as_json:
                print(line.decode(), flush=True)
            else:
                print(msgspec.json.decode(line, type=Chunk).text, end="", flush=True)
        self._shown = True

    def _break_line(self) -> None:
        if self._shown and not self._asking.as_json:
            print()

    def _end(self, payload: bytes) -> None:
        result = msgspec.json.decode(payload, type=_Result)
        if result.status != "success":
            raise Answered(result.error or "the request failed")
        if self._shown:
            return
        if self._asking.as_json:
            print(bytes(result.response).decode() or payload.decode())
        else:
            print(result.content if result.content is not None else text_of(payload))
