"""Running the scripts of admission: until they have run, with whom they wake, and on time.

Whoever was let in is brought back to the gate, and the looks that a script was promised are kept,
so that nobody has to poll.
"""

import asyncio
import logging
import re
from typing import Final

import redis.exceptions

from pipeline import clock
from pipeline.about import noted, said
from pipeline.limits.tickets import id_of
from pipeline.names import Names
from pipeline.streams.link import Argument, Link, LinkError, Reply
from pipeline.streams.scripts import WAKE, Script, load

log = logging.getLogger(__name__)

#: The parts that all scripts share that know of limits.
PARTS: Final = (
    "ground", "meters", "health", "strategies", "candidates", "companions", "leases", "room",
    "door", "settlement",
)  # fmt: skip
ADMISSION: Final = load("pipeline.limits", *PARTS, "admission")
REGISTER: Final = load("pipeline.limits", "register")
PUBLISH: Final = load("pipeline.limits", "publish")

#: Pause before what Redis refused is asked again, in seconds.
REFUSED_S: Final = 1.0

#: What Redis says of a script that stumbles over its own bug: asking again would not help.
_BUG: Final = re.compile(r"attempt to|bad argument|too many results")


class Runner:
    """Runs the scripts for one worker process."""

    def __init__(self, link: Link, names: Names) -> None:
        self.link = link
        self.names = names
        self._keys = [names.limits, names.clock]
        self._alarm: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._stopped = False

    async def run(self, verb: str, items: list[Argument]) -> list[bytes]:
        """Run a verb of admission; gives its answers. Raises `ResponseError` for its own bug."""
        # All verbs may be said twice.
        answers, woken, look_in = await self.insist(ADMISSION, self._keys, [verb, *items])
        if look_in >= 0 and not self._stopped:
            self._look_in(look_in / 1000)
        await self.wake(woken)
        found: list[bytes] = answers
        return found

    async def write(self, script: Script, arguments: list[Argument]) -> Reply:
        """Run a script that writes what admission goes by."""
        return await self.insist(script, self._keys[:1], arguments)

    async def stop(self) -> None:
        """Keep no more promises: others will, with their next look."""
        self._stopped = True
        if self._alarm:
            self._alarm.cancel()
        if self._looking:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def wake(self, tickets: list[bytes]) -> None:
        """Bring the events of these tickets back to the gate."""
        if not tickets:
            return
        ids = [id_of(ticket.decode()) for ticket in tickets]
        # Waking twice does no harm: an event that has left is only marked.
        arguments: list[Argument] = [self.names.prefix, f"{clock.now():.3f}", *ids]
        await self.insist(WAKE, [self.names.parked], arguments)

    async def insist(self, script: Script, keys: list[str], arguments: list[Argument]) -> Reply:
        """Run a script until it has run: whoever asks can neither go on nor end without that."""
        while True:
            try:
                return await self.link.run(script, keys, arguments)
            except LinkError:
                await self.link.up()
            except redis.exceptions.ResponseError as error:
                if _BUG.search(str(error)):
                    raise
                # Redis may refuse every write for a time: its disk is full, it became a replica.
                log.warning("Redis refused admission", extra=noted(reason=said(error)))
                await asyncio.sleep(REFUSED_S)

    def _look_in(self, seconds: float) -> None:
        """Look again after so long: this worker has promised it, and no other one will."""
        # A new promise is for the first of all that is due: it stands for the one before as well.
        if self._alarm:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._look, seconds)

    def _look(self, promised_s: float) -> None:
        self._looking = asyncio.create_task(self._run_alarm(promised_s), name="alarm")

    async def _run_alarm(self, promised_s: float) -> None:
        await self.run("alarm", [f"{promised_s * 1000:.0f}"])
