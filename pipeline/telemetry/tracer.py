"""A worker's traces: each leg that a passage ends is told, once, where it ends."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from pipeline.catalog import Catalog
from pipeline.event import Event
from pipeline.outcome import Forward, Wait
from pipeline.passage import Passage
from pipeline.settings.load import TelemetrySettings
from pipeline.telemetry.calls import Content, known_by
from pipeline.telemetry.legs import ended_by
from pipeline.telemetry.spans import Spans
from pipeline.telemetry.tree import House, tree_of
from pipeline.tracing import NEVER, Sampler


class Exporter(Protocol):
    """Where spans go."""

    @property
    def counts(self) -> tuple[int, int]:
        """Count the spans that a collector took, and those that none did."""
        ...

    def emit(self, build: Callable[[], Spans | None], /) -> None:
        """Have spans built and sent soon."""
        ...

    def close(self) -> None:
        """Send what is left; blocks for a moment at the most."""
        ...


#: Fetches the prompt and the answer of an event that has ended.
ContentOf = Callable[[Event], Coroutine[Any, Any, Content]]


def open_exporter(settings: TelemetrySettings, part: str) -> Exporter | None:
    """Begin to export this process's traces; None: there is nowhere to."""
    if not settings.otlp_endpoint:
        return None
    # gRPC and protobuf are 40 MB and half a second in each process: not where nothing is traced.
    from pipeline.telemetry.exporting import Exporting  # noqa: PLC0415

    return Exporting(settings, part)


def sampler_of(settings: TelemetrySettings) -> Sampler:
    """Give who decides which requests are traced."""
    if not settings.otlp_endpoint:
        return NEVER
    return Sampler(share=settings.sampling, parent_based=settings.parent_based)


class Tracer:
    """Observes the passages of one process."""

    def __init__(
        self,
        exporter: Exporter,
        namespace: str,
        catalog: Catalog,
        content_of: ContentOf | None = None,
    ) -> None:
        self._exporter = exporter
        self._namespace = namespace
        self._content_of = content_of
        self._fetching: set[asyncio.Task[None]] = set()
        self.go_by(catalog)

    def go_by(self, catalog: Catalog) -> None:
        """Tell of deployments by another configuration from now on."""
        self._house = House(namespace=self._namespace, known=known_by(catalog))

    def passed(self, passage: Passage) -> None:
        """Tell a leg that has ended with this passage, where it is traced."""
        if passage.before.trace is None or isinstance(passage.outcome, Forward | Wait):
            return
        if self._content_of is None:
            self._exporter.emit(partial(_built, passage, self._house))
            return
        task = asyncio.create_task(self._with_content(passage, self._content_of))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def settled(self) -> None:
        """Wait until nothing is fetched any more."""
        if self._fetching:
            await asyncio.wait(self._fetching)

    async def _with_content(self, passage: Passage, content_of: ContentOf) -> None:
        content = await content_of(passage.event)
        self._exporter.emit(partial(_built, passage, self._house, content))


def _built(passage: Passage, house: House, content: Content | None = None) -> Spans | None:
    leg = ended_by(passage)
    return tree_of(leg, house, content) if leg else None
