"""`/admin/ladder`: who waits on the rungs, and who may go now, for operators."""

from typing import Final

import msgspec

from gateway.admin_asking import Course, LadderSelection, limit_of, read
from gateway.exchange import Exchange
from gateway.gateway import Gateway
from pipeline import clock
from pipeline.current import Configuration
from pipeline.errors import BadRequest
from pipeline.streams.rungs import PROMOTE_BATCH, Climber, ClimberFilter, Rung, Rungs

_selection: Final = msgspec.json.Decoder(LadderSelection)


class LadderPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of events, rung by rung; it may hold fewer than asked and not be the last."""

    object: str = "list"
    data: list[Climber]
    #: The place behind which the next page begins; null: this is the last one.
    after: str | None
    #: How every rung stands that is in use.
    rungs: list[Rung]


class Promotion(msgspec.Struct, kw_only=True):
    """What one request did, and where the next one goes on."""

    object: str = "sluice.promotion"
    dry_run: bool
    matched: int = 0
    promoted: int = 0
    #: Those that would be meant, of a dry run.
    data: list[Climber] = []
    #: To be sent again as `after` for the rest; null: all is done.
    after: str | None = None


class Ladder:
    """The routes below `/admin/ladder`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        gateway.current.follow(self._go_by)
        self._most_bytes = gateway.settings.gateway.max_body_bytes

    def _go_by(self, configuration: Configuration) -> None:
        gateway = self._gateway
        self._rungs = Rungs(gateway.link, gateway.names, configuration.catalog.rungs())

    async def page(self, exchange: Exchange) -> None:
        """GET /admin/ladder: who waits there, filtered by the query; a look is bounded."""
        self._gateway.operators.admit(exchange)
        wanted = ClimberFilter(
            model=exchange.query("model"),
            tenant=exchange.query("tenant"),
            cause=exchange.query("cause"),
            rung=_rung(exchange.query("rung")),
        )
        limit, after = limit_of(exchange), exchange.query("after")
        page = await self._rungs.scan(wanted, after=after, limit=limit)
        stand = await self._rungs.stand()
        told = LadderPage(data=page.climbers, after=page.after or None, rungs=stand.rungs)
        await exchange.answer(200, msgspec.json.encode(told))

    async def promote(self, exchange: Exchange) -> None:
        """POST /admin/ladder/promote: let those go on that are named or meant, at a rate."""
        self._gateway.operators.admit(exchange)
        asked = await read(exchange, _selection, self._most_bytes)
        asked.require()
        told, course = Promotion(dry_run=asked.dry_run), Course(asked.rate, PROMOTE_BATCH)
        if not asked.ids:
            await self._meant(asked, told, course)
        elif asked.dry_run:
            raise BadRequest("A dry run is for a filter.", param="dry_run")
        else:
            await self._named(list(dict.fromkeys(asked.ids)), told, course)
        await exchange.answer(200, msgspec.json.encode(told))

    async def _named(self, ids: list[str], told: Promotion, course: Course) -> None:
        while told.matched < len(ids) and await self._turn(course, told.matched):
            batch = ids[told.matched : told.matched + course.size]
            told.promoted += await self._rungs.promote(batch)
            told.matched += len(batch)

    async def _meant(self, asked: LadderSelection, told: Promotion, course: Course) -> None:
        """Promote who had climbed before the first request: who fails again climbs again."""
        before, place = _read_place(asked.after)
        wanted, more = asked.wanted(before), True
        while more and told.matched < asked.limit and await self._turn(course, told.matched):
            most = min(course.size, asked.limit - told.matched)
            page = await self._rungs.scan(wanted, after=place, limit=most)
            if asked.dry_run:
                told.data += page.climbers
            else:
                ids = [climber.id for climber in page.climbers if climber.id]
                told.promoted += await self._rungs.promote(ids)
            told.matched += len(page.climbers)
            place, more = page.after, bool(page.after)
        told.after = f"{before:.3f}/{place}" if more else None

    async def _turn(self, course: Course, done: int) -> bool:
        """Wait until more may go, and the gate takes them: who comes new is not to wait long."""
        while await course.turn(done):
            if not await self._rungs.gate_is_full():
                return True
            await course.pause()
        return False


def _rung(text: str) -> int:
    if text and not (text.isdecimal() and len(text) < 9):
        raise BadRequest("'rung' is a number of seconds.", param="rung")
    return int(text) if text else 0


def _read_place(after: str) -> tuple[float, str]:
    """Read where an earlier request has ended; gives when that began, too."""
    before, _, place = after.partition("/")
    try:
        return (float(before), place) if after else (clock.now(), "")
    except ValueError:
        raise BadRequest(f"`{after[:100]}` is no place on the ladder") from None
