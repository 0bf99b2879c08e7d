"""Reloads as they travel: a version in Redis, each process's notice of it, and its answer.

Redis holds the version alone, never the configuration: each process reads its own file and
environment again. It costs no command while nothing is published.
"""

import asyncio
import contextlib
import logging
from typing import Final, Self

import msgspec
import redis.exceptions

from pipeline import clock
from pipeline.about import noted
from pipeline.current import Current
from pipeline.errors import SettingsError
from pipeline.names import Names
from pipeline.streams.link import Link, LinkError

log = logging.getLogger(__name__)

#: How long the answers to a reload are kept, in seconds.
TAKEN_TTL_S: Final = 600

#: What keeps Redis from hearing something that it can do without.
_UNHEARD: Final = (LinkError, redis.exceptions.ResponseError, redis.exceptions.OutOfMemoryError)


class Published(msgspec.Struct, frozen=True):
    """A version of the configuration, and the reload that published it."""

    version: str
    reload: str

    @classmethod
    def new(cls, version: str) -> Self:
        """Publish a version, again or for the first time."""
        return cls(version, clock.new_id())

    @classmethod
    def read(cls, value: bytes) -> Self:
        """Read what stands in Redis."""
        version, _, reload = value.decode(errors="replace").partition(" ")
        return cls(version, reload)

    def written(self) -> str:
        """Write it as it stands in Redis."""
        return f"{self.version} {self.reload}"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a reload in one process."""

    #: The version that it goes by now.
    version: str
    #: Why it goes by its old one still.
    faults: tuple[str, ...] = ()
    #: What differs and takes a restart, by path.
    restart: tuple[str, ...] = ()


class Reloads:
    """One process's part in reloads, under the name by which it answers."""

    def __init__(self, link: Link, names: Names, name: str, current: Current) -> None:
        self._link = link
        self._names = names
        self._name = name
        self._current = current
        self._known: bytes | None = None
        self._taking: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """See what was published before this process was there. Raises `LinkError`.

        Another version than its own it looks at again with its next notice: workers that start
        beside it may be about to publish theirs.
        """
        value: bytes | None = await self._link.call("GET", self._names.config)
        if value and Published.read(value).version == self._current.now.version:
            self._known = value

    async def publish(self) -> None:
        """Make the configuration of this process the one that holds. Raises `LinkError`."""
        self._known = await self._link.call("GET", self._names.config)
        version = self._current.now.version
        if self._known is None or Published.read(self._known).version != version:
            published = Published.new(version).written()
            with contextlib.suppress(redis.exceptions.ResponseError):
                await self._link.call("SET", self._names.config, published)
                self._known = published.encode()

    async def notice(self, value: bytes | None) -> None:
        """Hear what is published now; take it over in a task of its own where that is news."""
        if value == self._known:
            return
        if value is None:
            # Redis was emptied: who comes next is to find what holds.
            await self._restore()
            return
        self.take_over(value)

    def take_over(self, value: bytes) -> None:
        """Take over what was published, once."""
        if value != self._known:
            self._known = value
            self._taking = asyncio.create_task(
                self._take_over(value, self._taking), name="take over the configuration"
            )

    async def close(self) -> None:
        """Let what is being taken over come to its end."""
        if self._taking:
            await asyncio.gather(self._taking, return_exceptions=True)

    async def _restore(self) -> None:
        assert self._known is not None
        with contextlib.suppress(*_UNHEARD):
            await self._link.call("SET", self._names.config, self._known, "NX")

    async def _take_over(self, value: bytes, before: asyncio.Task[None] | None) -> None:
        if before:
            await asyncio.wait([before])
        taken = await self._reloaded()
        if not taken.faults and taken.version != Published.read(value).version:
            self._warn(value)
        await self._answer(Published.read(value).reload, taken)

    async def _reloaded(self) -> Taken:
        before = self._current.now.version
        try:
            restart = await self._current.reload()
        except SettingsError as error:
            told = noted(version=before, reason="; ".join(error.faults))
            log.error("Configuration was refused; the one before stays in force", extra=told)
            return Taken(version=before, faults=tuple(error.faults))
        version = self._current.now.version
        if version != before:
            log.info("Configuration came into force", extra=noted(version=version, before=before))
        for path in restart:
            log.warning("A setting changed that takes a restart", extra=noted(path=path))
        return Taken(version=version, restart=tuple(restart))

    def _warn(self, value: bytes) -> None:
        log.warning(
            "Another configuration was published: other machines have another file or environment, "
            "or this one has not been reloaded",
            extra=noted(
                version=self._current.now.version,
                source=self._current.settings.source,
                published=Published.read(value).version,
            ),
        )

    async def _answer(self, reload: str, taken: Taken) -> None:
        key = self._names.taken(reload)
        with contextlib.suppress(*_UNHEARD):
            await asyncio.gather(
                self._link.call("HSET", key, self._name, msgspec.json.encode(taken)),
                self._link.call("EXPIRE", key, TAKEN_TTL_S),
            )
