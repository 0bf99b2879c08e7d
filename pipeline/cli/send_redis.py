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
from pipeline.cli.entries import read_new
from pipeline.cli.gateway_call import Answered
from pipeline.cli.place import Place
from pipeline.event import NO_BODY, Closing
from pipeline.names import EVENT_FIELD, lane_of

_BLOCK_S: Final = 5.0
#: How long the callback may come after the closing; it is written by a step of its own.
_CALLBACK_WAIT_S: Final = 5.0

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
    if not asking.detached:
        body["reply_to"] = callback
    with place.client(block_s=_BLOCK_S) as client:
        lane = place.names.requests[lane_of(asking.priority)]
        client.xadd(lane, {EVENT_FIELD: msgspec.json.encode(body)})
        if asking.detached:
            print(request_id)
            return
        print(f"request {request_id}", file=sys.stderr)
        try:
            _Answer(client, asking, callback).follow(place.names.reply(request_id))
        finally:
            client.delete(callback)


class _Answer:
    """The answer to one request, as it comes."""

    def __init__(self, client: redis.Redis, asking: Asking, callback: str) -> None:
        self._client = client
        self._asking = asking
        self._callback = callback.encode()
        self._shown = False
        self._closed_at = 0.0

    def follow(self, reply: str) -> None:
        """Print until the result is there."""
        places: dict[bytes, bytes] = {self._callback: b"0"}
        if self._asking.stream:
            places[reply.encode()] = b"0"
        while not self._closed_at or clock.monotonic() < self._closed_at + _CALLBACK_WAIT_S:
            for stream, entries in read_new(self._client, places, _BLOCK_S):
                places[stream] = entries[-1][0]
                if stream == self._callback:
                    self._end(entries[0][1][EVENT_FIELD.encode()])
                    return
                for entry, fields in entries:
                    self._show(entry, fields[EVENT_FIELD.encode()])
        raise Answered("the request ended, and no callback came")

    def _show(self, entry: bytes, lines: bytes) -> None:
        if entry.endswith(_CLOSING_ID):
            self._closed_at = clock.monotonic()
            closing = msgspec.json.decode(lines, type=Closing)
            if closing.failure:
                self._break_line()
                raise Answered(closing.failure.message)
            return
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
        self._break_line()
        result = msgspec.json.decode(payload, type=_Result)
        if result.status != "success":
            raise Answered(result.error or "the request failed")
        if self._shown:
            return
        if self._asking.as_json:
            print(bytes(result.response).decode() or payload.decode())
        else:
            print(result.content if result.content is not None else text_of(payload))
