"""Replaying dead letters: each batch is one atomic step, in which a letter leaves `dead`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import msgspec

from pipeline import clock
from pipeline import event as events
from pipeline.errors import BadRequest
from pipeline.event import Event
from pipeline.names import Names
from pipeline.streams.batch import split
from pipeline.streams.dead.changes import Changes, bodyless, changed, obstacle, renewed
from pipeline.streams.dead.letter import Letter, Note
from pipeline.streams.ingress import record_fields
from pipeline.streams.link import Argument, Link, LinkError
from pipeline.streams.patience import patiently
from pipeline.streams.scripts import load

_REDRIVE: Final = load("pipeline.streams.dead", "redrive")

#: Letters replayed in one call of the script at the most: a bound on its time in Redis.
MAX_BATCH: Final = 50

#: The script's word for a request that is under way or was answered: its id is taken.
_BUSY: Final = "busy"


class Replayed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a letter that was to be replayed."""

    #: The letter's entry id, and the id of the request that died.
    letter: str
    id: str
    #: `replayed` now; `repeated`: it had been before; `gone`: it is no letter any more, purged or
    #: edited; `refused`: it cannot be replayed as it is, `why` says what to do, it is kept.
    state: Literal["replayed", "repeated", "gone", "refused"]
    #: The id under which it runs: the same where nothing of an answer had been delivered.
    replayed_as: str = ""
    why: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A letter that is about to be replayed, with its event as it is to be."""

    letter: Letter
    event: Event
    #: A changed body that is too large to travel.
    body: bytes = b""
    edits: tuple[Note, ...] = ()
    #: The id under which it is to run.
    id: str


class Redriving:
    """Replays letters; `body_of` gives a letter's body, empty where it has gone."""

    def __init__(
        self, link: Link, names: Names, body_of: Callable[[Letter], Awaitable[bytes]]
    ) -> None:
        self._link = link
        self._names = names
        self._body_of = body_of

    async def replay(self, letters: Sequence[Letter], changes: Changes | None) -> list[Replayed]:
        """Replay letters, each once, and tell of them in order."""
        waiting = list(letters)
        done: list[Replayed] = []
        while waiting:
            batch, waiting = split(waiting, MAX_BATCH, _size)
            done += await self._replay(batch, changes)
        return done

    async def edited(self, letter: Letter, changes: Changes) -> Plan:
        """Apply an edit to a letter. Raises `BadRequest`."""
        if letter.event is None:
            raise BadRequest(obstacle(letter))
        body = b"" if changes.body else await self._body_of(letter)
        if not body and not changes.body:
            raise BadRequest(bodyless(letter))
        event, whole = changed(letter.event, body, changes)
        note = Note(at=clock.now(), was=letter.entry, changed=changes.names)
        return Plan(
            letter=letter,
            event=event,
            body=b"" if event.has_body else whole,
            edits=(*letter.edits, note),
            id=event.id,
        )

    async def _replay(self, batch: list[Letter], changes: Changes | None) -> list[Replayed]:
        said: dict[str, Replayed] = {}
        plans: list[Plan] = []
        for letter in batch:
            try:
                plans.append(await self._plan(letter, changes))
            except BadRequest as refusal:
                said[letter.entry] = _refused(letter, refusal.message)
        while plans:
            words, again = await self._run(plans)
            said |= {
                plan.letter.entry: _told(plan, word, again=again)
                for plan, word in zip(plans, words, strict=True)
            }
            plans = [_apart(plan) for plan, word in zip(plans, words, strict=True) if word == _BUSY]
        return [said[letter.entry] for letter in batch]

    async def _plan(self, letter: Letter, changes: Changes | None) -> Plan:
        if changes:
            plan = await self.edited(letter, changes)
        elif letter.event is None or obstacle(letter):
            raise BadRequest(obstacle(letter))
        else:
            plan = Plan(letter=letter, event=letter.event, edits=letter.edits, id=letter.id)
        return _apart(plan) if plan.event.deltas else plan

    async def _run(self, plans: list[Plan]) -> tuple[list[str], bool]:
        """Run the script; tells whether it was asked again, and so may find its own work done."""
        args: list[Argument] = [self._names.prefix]
        for plan in plans:
            args += _arguments(plan)

        async def ask() -> list[str]:
            words = await self._link.run(_REDRIVE, [self._names.dead], args)
            return [word.decode() for word in words]

        try:
            return await ask(), False
        except LinkError:
            return await patiently(self._link, ask), True


def _size(letter: Letter) -> int:
    return letter.event.body_bytes if letter.event else 0


def _apart(plan: Plan) -> Plan:
    """Give a replay an id of its own."""
    return msgspec.structs.replace(plan, id=clock.new_id())


def body_word(plan: Plan) -> str | bytes:
    """Tell the scripts what becomes of a body: it travels, is kept, or is this one."""
    return "inline" if plan.event.has_body else plan.body or "kept"


def _arguments(plan: Plan) -> list[Argument]:
    event = renewed(plan.event, plan.id)
    fields = record_fields(event)
    if event.leg > 1:
        fields += ["leg", event.leg]
    if plan.edits:
        fields += ["edits", events.encode(plan.edits)]
    return [
        plan.letter.entry,
        plan.letter.id,
        plan.id,
        event.lane,
        events.encode(event),
        body_word(plan),
        event.session,
        len(fields) // 2,
        *fields,
    ]


def _refused(letter: Letter, why: str) -> Replayed:
    return Replayed(letter=letter.entry, id=letter.id, state="refused", why=why)


def _told(plan: Plan, word: str, *, again: bool) -> Replayed:
    letter = plan.letter
    word, _, known_as = word.partition(" ")
    match word:
        case "replayed":
            state: Literal["replayed", "repeated", "gone"] = "replayed"
        case "repeated":
            state = "replayed" if again else "repeated"
        case "gone":
            state = "gone"
        case "bodyless":
            return _refused(letter, bodyless(letter))
        case _:
            return _refused(
                letter, f"Redis refused the replay of {letter.entry}: {word} {known_as}"
            )
    run_as = "" if state == "gone" else known_as or plan.id
    return Replayed(letter=letter.entry, id=letter.id, state=state, replayed_as=run_as)
