"""`/v1/requests`: any request by its id: its state, its journal, its reply, and its cancelling."""

import asyncio
import contextlib
from typing import Final

import msgspec

from gateway.exchange import Exchange
from gateway.frames import Chunks, place_of
from gateway.gateway import Gateway
from gateway.records import Record, journal, not_found, tenant_of, whereabouts
from gateway.showing import Showing
from pipeline.decision import decision_in
from pipeline.event import ENDED
from pipeline.streams.inbox import CLOSING

#: Fields of a record that are shown as they are, where they are there.
_TEXTS: Final = ("operation", "tenant", "user", "deployment", "entry")


class Requests:
    """The routes below `/v1/requests`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def show(self, exchange: Exchange) -> None:
        """GET /v1/requests/{id}: what `/chat/{task_id}` tells, and where the request is."""
        request_id, record = await self._record(exchange)
        await exchange.answer(200, await self._shown(request_id, record))

    async def cancel(self, exchange: Exchange) -> None:
        """DELETE /v1/requests/{id}, POST /v1/requests/{id}/cancel: end it, wherever it is.

        200 tells how it has ended, now or before; 202 that its end is still to come.
        """
        gateway = self._gateway
        request_id, record = await self._record(exchange)
        if not _has_ended(record) and await gateway.cancel(request_id, "client"):
            await self._until_ended(request_id, record)
        record = await gateway.record(request_id, tenant_of(record))
        status = 200 if _has_ended(record) else 202
        await exchange.answer(status, await self._shown(request_id, record))

    async def events(self, exchange: Exchange) -> None:
        """GET /v1/requests/{id}/events: a line for each hop so far, and the decision they tell."""
        request_id, record = await self._record(exchange)
        lines = journal(record)
        shown = {
            "object": "list",
            "request_id": request_id,
            "status": record.get("status", b"queued").decode(),
            "at": whereabouts(record),
            "decision": decision_in(lines),
            "data": lines,
        }
        await exchange.answer(200, msgspec.json.encode(shown))

    async def stream(self, exchange: Exchange) -> None:
        """GET /v1/requests/{id}/stream?after=: the chunks behind a place, and those to come."""
        gateway, request_id = self._gateway, exchange.path("id")
        tenant = gateway.callers.tenant_of(exchange)
        place = place_of(exchange.query("after") or exchange.header(b"last-event-id"))
        if not await gateway.is_visible(request_id, tenant):
            raise not_found(request_id)
        if place.ends_turn:
            await exchange.answer(204, b"", ())
            return
        watch, form = gateway.inbox.watch(request_id, place.entry), Chunks(request_id)
        hearing = gateway.overhear(exchange, watch, form.waiting)
        try:
            await gateway.resume(watch)
            await Showing(hearing, form, place).run()
        finally:
            hearing.close()
        await exchange.finish()

    async def _shown(self, request_id: str, record: Record) -> bytes:
        state = await self._gateway.state(request_id, record)
        told = msgspec.to_builtins(state, builtin_types=(msgspec.Raw,))
        shown = {"id": told.pop("task_id"), "object": "sluice.request", **told}
        shown |= {name: record[name].decode() for name in _TEXTS if name in record}
        shown["priority"] = int(record.get("priority", b"0"))
        shown["at"] = whereabouts(record)
        return msgspec.json.encode(shown)

    async def _until_ended(self, request_id: str, record: Record) -> None:
        """Wait a moment for the reply's closing; its deltas are passed over."""
        before = f"{record.get('turn', b'1').decode()}{CLOSING - 1}-0"
        watch = self._gateway.inbox.watch(request_id, before)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._gateway.pace.cancel_s):
                    await self._gateway.resume(watch)
                    await watch.next()
        finally:
            watch.close()

    async def _record(self, exchange: Exchange) -> tuple[str, Record]:
        request_id = exchange.path("id")
        tenant = self._gateway.callers.tenant_of(exchange)
        return request_id, await self._gateway.record(request_id, tenant)


def _has_ended(record: Record) -> bool:
    return record.get("status", b"").decode() in ENDED
