"""`GET /stream/{session_id}`: a session's replies, from any place on, for any number of readers."""

import asyncio
import contextlib
from typing import Final

from gateway.errors import STOPPING
from gateway.exchange import ClientGone, Exchange
from gateway.frames import Place, Plain, place_of
from gateway.gateway import Gateway
from gateway.records import not_found
from gateway.showing import Showing
from gateway.sse import PING
from pipeline.errors import RedisUnavailable, RequestNotFound

#: Turns of others, at the end of a session, behind which its tenant's own are looked for.
_LOOKED_THROUGH: Final = 100


class Sessions:
    """The route `/stream/{session_id}`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def stream(self, exchange: Exchange) -> None:
        """GET /stream/{session_id}: the latest reply, or all behind the place last read."""
        tenant = self._gateway.callers.tenant_of(exchange)
        place = place_of(exchange.header(b"last-event-id") or exchange.query("after"))
        reading = _Reading(self._gateway, exchange, exchange.path("session_id"), tenant)
        await reading.run(place, follow=exchange.query("follow") in ("true", "1", "yes"))


class _Reading:
    """One reader of one session."""

    def __init__(self, gateway: Gateway, exchange: Exchange, session_id: str, tenant: str) -> None:
        self._gateway = gateway
        self._exchange = exchange
        self._session_id = session_id
        self._tenant = tenant
        self._key = gateway.names.session(session_id)

    async def run(self, place: Place, *, follow: bool) -> None:
        turns = await self._turns()
        latest = await self._latest_of_mine(turns)
        if not latest:
            raise RequestNotFound(f"No session has the id `{self._session_id[:128]}`.")
        turn = place.turn + place.ends_turn if place.turn else latest
        if turn > turns and not follow:
            # What a browser's EventSource takes as the order not to come back.
            await self._exchange.answer(204, b"", ())
            return
        while True:
            if turn > turns:
                turns = await self._next_turn(turn)
            if not await self._show(turn, turns, place):
                return
            place, turn = Place(), turn + 1
            turns = max(turns, await self._turns())
            if turn > turns and not follow:
                await self._exchange.finish()
                return

    async def _turns(self) -> int:
        turns: int = await self._gateway.ask("LLEN", self._key)
        return turns

    async def _request(self, turn: int) -> str:
        found: bytes | None = await self._gateway.ask("LINDEX", self._key, turn - 1)
        return found.decode() if found else ""

    async def _latest_of_mine(self, turns: int) -> int:
        """Find the latest turn that the caller may read; 0: there is none.

        Nobody can take a session from its tenant by sending a request with its id.
        """
        if not self._tenant:
            return turns
        for turn in range(turns, max(0, turns - _LOOKED_THROUGH), -1):
            if await self._gateway.is_visible(await self._request(turn), self._tenant):
                return turn
        return 0

    async def _show(self, turn: int, turns: int, place: Place) -> bool:
        """Show one turn; tells whether there may be more."""
        request_id = await self._request(turn)
        form = Plain(request_id)
        if not await self._gateway.is_visible(request_id, self._tenant):
            if turn == turns and not self._exchange.started:
                raise not_found(request_id)
            await self._exchange.begin()
            await self._exchange.write(form.gap())
            return True
        watch = self._gateway.inbox.watch(request_id, place.entry)
        hearing = self._gateway.overhear(self._exchange, watch, form.waiting)
        try:
            await self._gateway.resume(watch)
            whole = await Showing(hearing, form, place).run()
        finally:
            hearing.close()
        if not whole:
            await self._exchange.finish()
        return whole

    async def _next_turn(self, turn: int) -> int:
        """Wait for the session's next request.

        Nothing in Redis wakes a reader of a list that others read, too, so this looks again and
        again; only who follows a session that is silent costs that.
        """
        exchange, pace = self._exchange, self._gateway.pace
        loop = asyncio.get_running_loop()
        gone = asyncio.create_task(exchange.until_gone(), name="listen")
        try:
            await exchange.begin()
            while (turns := await self._turns_or_none()) < turn:
                await asyncio.wait([gone], timeout=pace.follow_s)
                if gone.done():
                    raise ClientGone
                if self._gateway.stopping:
                    await exchange.finish(Plain(exchange.request_id).failed("", STOPPING))
                    raise ClientGone
                if loop.time() - exchange.wrote >= pace.ping_s:
                    await exchange.write(PING)
        finally:
            gone.cancel()
        return turns

    async def _turns_or_none(self) -> int:
        with contextlib.suppress(RedisUnavailable):
            return await self._turns()
        return 0
