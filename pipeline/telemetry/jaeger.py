"""Where Jaeger shows a trace."""

from pipeline.settings.load import TelemetrySettings


def trace_url(settings: TelemetrySettings, trace_id: str) -> str:
    """Give the address of a trace's page; empty where there is no trace, or no Jaeger is known."""
    base = settings.jaeger_url.rstrip("/")
    return f"{base}/trace/{trace_id}" if base and trace_id else ""
