"""Shows a request's reply on our own streams, from any place on, in one of the forms."""

from typing import Final

import msgspec

from gateway.errors import CUT, refuse
from gateway.exchange import Exchange
from gateway.frames import Form, Place
from gateway.hearing import Hearing
from gateway.politely import Instead
from gateway.summary_headers import POLITE, tell, tell_head
from pipeline.errors import Failure
from pipeline.event import Closing
from pipeline.streams.inbox import Frame

_decode_closing: Final = msgspec.json.Decoder(Closing).decode

#: Ends an answer that is no part of the reply.
_POLITE_END: Final = Frame("closing", "", msgspec.json.encode(Closing(status="completed")))


class Showing:
    """One reply for one reader; `cold` ones answer a failure before the first frame with HTTP."""

    def __init__(
        self,
        hearing: Hearing,
        form: Form,
        after: Place,
        *,
        cold: bool = False,
        instead: Instead | None = None,
    ) -> None:
        self._hearing = hearing
        self._exchange: Exchange = hearing.exchange
        self._form = form
        self._place = after
        self._skip = after.chunks
        self._cold = cold
        self._instead = instead

    async def run(self) -> bool:
        """Show the reply up to its end; tells whether it came to an end of its own, good or bad."""
        self._exchange.closing_frame = lambda: self._form.failed("", CUT)
        while True:
            shown: list[bytes] = []
            for frame in await self._hearing.frames():
                if frame.kind == "delta":
                    shown.append(self._delta(frame))
                elif frame.kind == "restart":
                    self._restart(shown)
                else:
                    return await self._end(frame, shown)
            together = b"".join(shown)
            if together:
                self._cold = False
                await self._exchange.begin()
                await self._exchange.write(together)

    def _delta(self, frame: Frame) -> bytes:
        if self._cold:
            tell_head(self._exchange, frame.head)
        generation, _, number = frame.entry.partition("-")
        place = Place(int(generation), int(number))
        begins = place.generation != self._place.generation
        follows = place.number == (1 if begins else self._place.number + 1)
        gap = b"" if follows else self._form.gap()
        self._place, skip, self._skip = place, self._skip, 0
        return gap + self._form.delta(frame, skip)

    def _restart(self, shown: list[bytes]) -> None:
        self._skip = 0
        if self._cold:
            shown.clear()
            self._exchange.told = ()
        else:
            shown.append(self._form.restart())

    async def _end(self, frame: Frame, shown: list[bytes]) -> bool:
        failure = self._hearing.failure(frame)
        closed = frame.kind == "closing"
        if self._cold and not any(shown):
            tell(self._exchange, self._hearing.summary)
        if failure and self._cold and not any(shown) and self._answers_politely(failure, shown):
            failure, frame, closed = None, _POLITE_END, True
        if failure and self._cold and not any(shown) and not self._exchange.started:
            await refuse(self._exchange, failure)
            return closed
        if failure:
            shown.append(self._form.failed(frame.entry if closed else "", failure))
        else:
            shown.append(self._form.ended(frame, _decode_closing(frame.lines).usage))
        await self._exchange.begin()
        if any(shown):
            await self._exchange.write(b"".join(shown))
        return closed

    def _answers_politely(self, failure: Failure, shown: list[bytes]) -> bool:
        """Show what is answered in place of a failure; tells whether anything is."""
        chunks = self._instead(failure) if self._instead else ()
        if chunks:
            self._exchange.told = (*self._exchange.told, POLITE)
            shown.append(self._form.delta(Frame("delta", "", b"\n".join(chunks)), 0))
        return bool(chunks)
