"""`/admin/dead`: the dead letters for operators, who show a token of their own."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from gateway.admin_asking import (
    Course,
    DeadReplay,
    DeadSelection,
    Edit,
    limit_of,
    read,
    time_of,
)
from gateway.exchange import Exchange
from gateway.gateway import Gateway
from pipeline.current import Configuration
from pipeline.errors import BadRequest, RequestNotFound
from pipeline.streams.dead.changes import Changes
from pipeline.streams.dead.letter import Letter, LetterFilter, Summary, summary
from pipeline.streams.dead.letters import PURGE_BATCH, Letters
from pipeline.streams.dead.redriving import MAX_BATCH, Replayed

#: What is done to a batch of letters.
_Do = Callable[[Sequence[Letter]], Awaitable[None]]

_replay: Final = msgspec.json.Decoder(DeadReplay)
_purge: Final = msgspec.json.Decoder(DeadSelection)
_edit: Final = msgspec.json.Decoder(Edit)


class DeadPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of letters, oldest first; it may hold fewer than asked and not be the last."""

    object: str = "list"
    data: list[Summary]
    #: The entry behind which the next page begins; null: this is the last one.
    after: str | None
    #: How many letters there are in all.
    total: int


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A letter with its journal, and the request's body; null: it is no longer in Redis."""

    letter: Summary
    body: msgspec.Raw


class Work(msgspec.Struct, kw_only=True):
    """What one request did, and where the next one goes on."""

    object: str
    dry_run: bool
    #: Letters that were meant.
    matched: int = 0
    #: Named, but no letters.
    missing: list[str] = []
    #: Those that would be meant, of a dry run.
    data: list[Summary] = []
    results: list[Replayed] = []
    purged: int = 0
    #: To be sent again as `after` for the rest; null: all is done.
    after: str | None = None


class DeadLetters:
    """The routes below `/admin/dead`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        gateway.current.follow(self._go_by)
        self._most_bytes = gateway.settings.gateway.max_body_bytes

    def _go_by(self, configuration: Configuration) -> None:
        dead_s = configuration.settings.retention.dead_s
        self._letters = Letters(self._gateway.link, self._gateway.names, dead_s=dead_s)

    async def page(self, exchange: Exchange) -> None:
        """GET /admin/dead: letters, filtered by the query; a look at them is bounded."""
        self._gateway.operators.admit(exchange)
        wanted = LetterFilter(
            model=exchange.query("model"),
            tenant=exchange.query("tenant"),
            cause=exchange.query("cause"),
            since=time_of(exchange.query("since")),
            until=time_of(exchange.query("until")),
        )
        limit, after = limit_of(exchange), exchange.query("after")
        page = await self._letters.scan(wanted, after=after, limit=limit)
        told = DeadPage(
            data=[summary(letter) for letter in page.letters],
            after=page.after or None,
            total=await self._letters.count(),
        )
        await exchange.answer(200, msgspec.json.encode(told))

    async def show(self, exchange: Exchange) -> None:
        """GET /admin/dead/{id}: by the letter's entry id, or the newest of a request."""
        letter = await self._found(exchange)
        body = await self._letters.body(letter)
        shown = Shown(letter=summary(letter, whole=True), body=msgspec.Raw(body or b"null"))
        await exchange.answer(200, msgspec.json.encode(shown))

    async def edit(self, exchange: Exchange) -> None:
        """PATCH /admin/dead/{id}: change it where it is; it gets a new entry id."""
        letter = await self._found(exchange)
        changes = (await read(exchange, _edit, self._most_bytes)).changes()
        if changes is None:
            raise BadRequest("Say what to change: 'set', 'body' or 'to_model'.")
        self._check(changes)
        edited = await self._letters.edit(letter, changes)
        if edited is None:
            raise _gone(letter.entry)
        await exchange.answer(200, msgspec.json.encode(summary(edited)))

    async def replay_one(self, exchange: Exchange) -> None:
        """POST /admin/dead/{id}/replay: put it back into the flow, changed if so wished."""
        letter = await self._found(exchange)
        changes = (await read(exchange, _edit, self._most_bytes)).changes()
        self._check(changes)
        (told,) = await self._letters.replay([letter], changes=changes)
        if told.state == "refused":
            raise BadRequest(told.why)
        if told.state == "gone":
            raise _gone(letter.entry)
        await exchange.answer(200, msgspec.json.encode(told))

    async def purge_one(self, exchange: Exchange) -> None:
        """DELETE /admin/dead/{id}: delete it with its body for good."""
        letter = await self._found(exchange)
        if not await self._letters.purge([letter]):
            raise _gone(letter.entry)
        await exchange.answer(200, msgspec.json.encode({"letter": letter.entry, "purged": 1}))

    async def replay(self, exchange: Exchange) -> None:
        """POST /admin/dead/replay: those that are named or meant, at a rate."""
        self._gateway.operators.admit(exchange)
        asked = await read(exchange, _replay, self._most_bytes)
        changes = asked.changes()
        self._check(changes)
        work = Work(object="sluice.replay", dry_run=asked.dry_run)

        async def do(letters: Sequence[Letter]) -> None:
            work.results += await self._letters.replay(letters, changes=changes)

        await self._answer(exchange, asked, work, do, MAX_BATCH)

    async def purge(self, exchange: Exchange) -> None:
        """POST /admin/dead/purge: delete those that are named or meant, for good."""
        self._gateway.operators.admit(exchange)
        asked = await read(exchange, _purge, self._most_bytes)
        work = Work(object="sluice.purge", dry_run=asked.dry_run)

        async def do(letters: Sequence[Letter]) -> None:
            work.purged += await self._letters.purge(letters)

        await self._answer(exchange, asked, work, do, PURGE_BATCH)

    async def _answer(
        self, exchange: Exchange, asked: DeadSelection, work: Work, do: _Do, most: int
    ) -> None:
        asked.require()

        async def rehearse(letters: Sequence[Letter]) -> None:
            work.data += [summary(letter) for letter in letters]

        todo, course = rehearse if asked.dry_run else do, Course(asked.rate, most)
        if asked.ids:
            await self._named(asked, work, todo, course)
        else:
            await self._meant(asked, work, todo, course)
        await exchange.answer(200, msgspec.json.encode(work))

    async def _named(self, asked: DeadSelection, work: Work, do: _Do, course: Course) -> None:
        found: dict[str, Letter] = {}
        for reference in asked.ids:
            letter = await self._letters.find(reference)
            if letter is None:
                work.missing.append(reference)
            else:
                found[letter.entry] = letter
        letters = list(found.values())
        while work.matched < len(letters) and await course.turn(work.matched):
            batch = letters[work.matched : work.matched + course.size]
            await do(batch)
            work.matched += len(batch)

    async def _meant(self, asked: DeadSelection, work: Work, do: _Do, course: Course) -> None:
        """Do it to those that were dead at the beginning: a replay that fails comes back."""
        after, _, last = asked.after.partition(":")
        last = last or await self._letters.newest()
        more = bool(last)
        while more and work.matched < asked.limit and await course.turn(work.matched):
            most = min(course.size, asked.limit - work.matched)
            page = await self._letters.scan(asked.wanted(), after=after, last=last, limit=most)
            if page.letters:
                await do(page.letters)
            work.matched += len(page.letters)
            after, more = page.after, bool(page.after)
        work.after = f"{after}:{last}" if more else None

    async def _found(self, exchange: Exchange) -> Letter:
        self._gateway.operators.admit(exchange)
        reference = exchange.path("id")
        letter = await self._letters.find(reference)
        if letter is None:
            raise _gone(reference)
        return letter

    def _check(self, changes: Changes | None) -> None:
        """Refuse a model that is not there. Raises `ModelNotFound`."""
        model = changes.fields.get("model") if changes else None
        if isinstance(model, str):
            self._gateway.catalog.candidates(model)


def _gone(reference: str) -> RequestNotFound:
    return RequestNotFound(f"There is no dead letter `{reference[:128]}`.")
