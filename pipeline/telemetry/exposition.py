"""What one process tells Prometheus: its tallies, what it counts beside, and the process itself."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pipeline.telemetry.tallies import Family

#: Gives families whenever it is asked, in any thread.
Source = Callable[[], Iterable[Family]]

#: Asked with a scraper's `Accept`, gives the type of the content and the content.
Answer = Callable[[str], tuple[str, bytes]]


class Exposition:
    """The metrics of one process, read from their sources at each scrape."""

    def __init__(self, *sources: Source) -> None:
        self._sources: list[Source] = [*sources]
        self._sources += [
            ProcessCollector(registry=None).collect,
            PlatformCollector(registry=None).collect,
        ]

    def answer(self, accept: str, more: Iterable[Family] = ()) -> tuple[str, bytes]:
        """Write everything, and some families more, in the form that a scraper wants."""
        families = [family for source in self._sources for family in source()]
        return written([*families, *more], accept)


def written(families: Iterable[Family], accept: str) -> tuple[str, bytes]:
    """Write families; gives the type of the content, too."""
    encode, content_type = choose_encoder(accept)
    return content_type, encode(_Families(families))


class _Families(Collector):
    """Families as the library's writers want to be given them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        yield from self._families
