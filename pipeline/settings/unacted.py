"""Name what is set and not acted on yet, so that no setting is a silent promise."""

from collections.abc import Iterator

from pipeline.settings.schema import Settings, TelemetrySettings


def not_yet(settings: Settings) -> list[str]:
    """Give a line, with its path, for each setting away from its default without effect yet."""
    lines = [f"{path}: not acted on by this version yet" for path in _paths(settings)]
    return [*settings.left_out, *lines]


def _paths(settings: Settings) -> Iterator[str]:
    default = TelemetrySettings()
    for key in default.__struct_fields__:
        if getattr(settings.telemetry, key) != getattr(default, key):
            yield f"telemetry.{key}"
