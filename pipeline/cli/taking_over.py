"""Has every part take a configuration over: publishes its version, and hears who goes by it.

Workers come first, then gateways: no gateway lets in a request for a model that a worker does not
know yet.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, cast

import msgspec
import redis

from pipeline import clock
from pipeline.cli import living
from pipeline.cli.entries import read_hash
from pipeline.names import Names
from pipeline.streams.inbox import NEWS
from pipeline.streams.reloads import Published, Taken

#: How long parts may take beyond a worker's scan to read a file and answer, in seconds.
PATIENCE_S: Final = 4.0
_PAUSE_S: Final = 0.02

Kind = Literal["worker", "gateway"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A process, and what it has made of the reload."""

    kind: Kind
    name: str
    took_over: bool
    #: Why not.
    why: list[str] = []
    #: What differs there and takes a restart, by path.
    restart: list[str] = []


class Handover:
    """One version on its way into every part."""

    def __init__(self, client: redis.Redis, names: Names, version: str, scan_s: float) -> None:
        self._client = client
        self._names = names
        self._published = Published.new(version)
        self._patience_s = scan_s + PATIENCE_S

    def run(self, now: float) -> list[Part]:
        """Publish the version and wait for who lives; `now` is Redis's time in Unix seconds."""
        value = self._published.written()
        self._client.set(self._names.config, value)
        workers = self._hear(
            "worker", [one.name for one in living.alive(self._client, self._names)]
        )
        gateways = [one.name for one in living.gateways(self._client, self._names, now)]
        for name in gateways:
            self._client.xadd(self._names.inbox(name), {NEWS: value}, nomkstream=True)
        return [*workers, *self._hear("gateway", gateways)]

    def _hear(self, kind: Kind, names: Sequence[str]) -> list[Part]:
        deadline = clock.monotonic() + self._patience_s
        taken = self._taken()
        while not taken.keys() >= set(names) and clock.monotonic() < deadline:
            clock.sleep(_PAUSE_S)
            taken = self._taken()
        late = {name for name in names if name not in taken}
        gone = late - self._living(kind) if late else set()
        return [self._part(kind, name, taken) for name in names if name not in gone]

    def _taken(self) -> dict[str, Taken]:
        told = read_hash(self._client, self._names.taken(self._published.reload))
        return {name: msgspec.json.decode(fact, type=Taken) for name, fact in told.items()}

    def _living(self, kind: Kind) -> set[str]:
        if kind == "worker":
            return {one.name for one in living.alive(self._client, self._names)}
        # They withdraw themselves; one that was killed is listed for some seconds more.
        listed = cast("list[bytes]", self._client.zrange(self._names.gateways, 0, -1))
        return {name.decode() for name in listed}

    def _part(self, kind: Kind, name: str, told: Mapping[str, Taken]) -> Part:
        taken = told.get(name)
        if taken is None:
            return Part(kind=kind, name=name, took_over=False, why=["it has not answered"])
        why = [*taken.faults]
        if not why and taken.version != self._published.version:
            why.append(
                f"its file and environment give the configuration {taken.version}, and those here "
                f"{self._published.version}"
            )
        return Part(kind=kind, name=name, took_over=not why, why=why, restart=[*taken.restart])
