"""Looks at the health of providers that want it (`health_s`), by one worker for all.

What they find is the gate's to act on: a deployment that is cut off is tried as soon as its
provider answers again, and not while it does not; one whose provider answers nothing is cut off
before requests find out.
"""

import asyncio
import logging
from typing import Final

from pipeline import clock
from pipeline.about import noted
from pipeline.catalog import Catalog
from pipeline.limits.admission import Admission
from pipeline.limits.tickets import Look
from pipeline.names import Names
from pipeline.settings.load import ProviderSettings, Settings
from pipeline.streams.duty import is_my_turn
from pipeline.streams.link import Link
from workers.providers import health
from workers.providers.base import ProviderCall
from workers.providers.upstream import Upstream

log = logging.getLogger(__name__)

#: A turn is a little shorter than the time between two looks: else every other one would be missed.
_TURN: Final = 0.9


class Looks:
    """Looks of one process, which takes its turn among all."""

    def __init__(self, link: Link, names: Names, admission: Admission, upstream: Upstream) -> None:
        self._link = link
        self._names = names
        self._admission = admission
        self._upstream = upstream
        self._settings: Settings | None = None
        self._catalog: Catalog | None = None
        self._next: dict[str, float] = {}
        self._looking: set[asyncio.Task[None]] = set()

    def go_by(self, settings: Settings, catalog: Catalog) -> None:
        """Look at the providers of a configuration."""
        self._settings, self._catalog = settings, catalog

    async def look(self) -> None:
        """Begin the looks that are due; nothing is asked of Redis where no provider wants any."""
        assert self._settings is not None
        for name, provider in self._settings.providers.items():
            due = self._next.get(name, 0.0) <= clock.monotonic()
            if provider.health_s and due:
                self._next[name] = clock.monotonic() + provider.health_s
                duty = f"{self._names.limits}:duty:look:{name}"
                if await is_my_turn(self._link, duty, provider.health_s * _TURN):
                    task = asyncio.create_task(self._look_at(name, provider), name=f"look {name}")
                    self._looking.add(task)
                    task.add_done_callback(self._looking.discard)

    async def close(self) -> None:
        """End the looks under way."""
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)

    async def _look_at(self, name: str, provider: ProviderSettings) -> None:
        assert self._catalog is not None
        keys = [self._catalog.key(name, key_id) for key_id in self._catalog.key_ids(name)]
        call = ProviderCall(
            request_id=f"health-{name}",
            base_url=provider.base_url,
            kind=provider.kind,
            model="",
            key=keys[0].reveal() if keys and keys[0] else "",
            body=b"",
            headers=tuple((header, text.reveal()) for header, text in provider.headers.items()),
            timeout=health.PATIENCE,
            api_version=provider.api_version,
            differs=provider.differs,
            proxy=provider.proxy.reveal() if provider.proxy else "",
        )
        is_alive = await self._upstream.is_alive(call)
        if not is_alive:
            log.warning("Provider did not answer", extra=noted(provider=name))
        own = [one for one in self._catalog.deployments() if one.provider == name]
        await self._admission.looked([Look(one, provider, is_alive) for one in own])
