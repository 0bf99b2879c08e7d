"""What one process tells Prometheus: its tallies, what it counts beside, and the process itself."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from pipeline.telemetry.tallies import Family

#: Gives families whenever it is asked, in any thread.
Source = Callable[[], Iterable[Family]]

#: Gives the whole text whenever it is asked, in any thread.
Answer = Callable[[], bytes]

#: Prometheus's own form, whatever a scraper prefers: all of them read it.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Exposition:
    """The metrics of one process, read from their sources at each scrape."""

    def __init__(self, *sources: Source) -> None:
        self._sources: list[Source] = [*sources]
        self._sources += [
            ProcessCollector(registry=None).collect,
            PlatformCollector(registry=None).collect,
        ]

    def answer(self, more: Iterable[Family] = ()) -> bytes:
        """Write everything, and some families more."""
        families = [family for source in self._sources for family in source()]
        return written([*families, *more])


def written(families: Iterable[Family]) -> bytes:
    """Write families as Prometheus reads them."""
    return generate_latest(_Families(families))


class _Families(Collector):
    """Families as the library's writers want to be given them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        yield from self._families
