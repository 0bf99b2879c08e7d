"""Waiting for Redis's replicas: what they have not got when a primary is lost, is lost with it.

WAIT holds up its connection and counts what was written on that one, so accepting has a link of
its own then, with one WAIT for all that was written in one go.
"""

from typing import Final

from pipeline.errors import NotReplicated
from pipeline.settings.schema import DurabilitySettings
from pipeline.streams.link import Link, Reply

#: What a silent server is given beyond the time to wait, in seconds.
_SILENCE_S: Final = 5.0


class Replicas:
    """The link on which requests are accepted, and how many replicas have to know of them."""

    def __init__(self, url: str, *, name: str, durability: DurabilitySettings) -> None:
        self._needed = durability.wait_replicas
        self._wait_ms = durability.wait_ms
        self.link = Link(url, name=name, timeout_s=_SILENCE_S + self._wait_ms / 1000)

    async def confirm(self) -> NotReplicated | None:
        """Wait until enough replicas have what the link has written; gives the error if not.

        Raises `LinkError`.
        """
        known: Reply = await self.link.call("WAIT", self._needed, self._wait_ms)
        if known >= self._needed:
            return None
        return NotReplicated(
            f"{known} of {self._needed} replicas of Redis confirmed the request within "
            f"{self._wait_ms} ms, so it was cancelled; try again. If this lasts, look after the "
            "replicas or lower durability.wait_replicas.",
            retry_after_s=1,
        )


def replicas_of(durability: DurabilitySettings, url: str, name: str) -> Replicas | None:
    """Give what accepting waits for; nothing: it waits for no replica."""
    return Replicas(url, name=name, durability=durability) if durability.wait_replicas else None
