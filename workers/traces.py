"""A worker process's traces, from its start to its drain; nothing where none are wanted."""

import asyncio

from pipeline.catalog import Catalog
from pipeline.names import Names
from pipeline.settings.load import TelemetrySettings
from pipeline.streams.engine import Engine
from pipeline.streams.link import Link
from pipeline.telemetry.tracer import Exporter, Tracer, open_exporter
from workers.contents import Contents


class Traces:
    """Observes an engine and exports what it sees."""

    def __init__(self, settings: TelemetrySettings, names: Names, link: Link) -> None:
        self._settings = settings
        self._names = names
        contents = Contents(link, names, settings.content_bytes)
        self._content_of = contents.of if settings.capture_content else None
        self._exporter: Exporter | None = None
        self._tracer: Tracer | None = None

    def open(self, engine: Engine, catalog: Catalog) -> None:
        """Begin; to be called in the process that runs the engine, after any fork."""
        self._exporter = open_exporter(self._settings, "worker")
        if self._exporter:
            self._tracer = Tracer(self._exporter, self._names.prefix, catalog, self._content_of)
            engine.observe(self._tracer.passed)

    @property
    def counts(self) -> tuple[int, int]:
        """Count the spans that a collector took, and those that none did."""
        return self._exporter.counts if self._exporter else (0, 0)

    def go_by(self, catalog: Catalog) -> None:
        """Tell of deployments by another configuration."""
        if self._tracer:
            self._tracer.go_by(catalog)

    async def close(self) -> None:
        """Send what is left."""
        if self._tracer and self._exporter:
            await self._tracer.settled()
            await asyncio.to_thread(self._exporter.close)
