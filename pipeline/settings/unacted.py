"""Name what is set and not acted on yet, so that no setting is a silent promise."""

from collections.abc import Iterator
from typing import Final

from pipeline.settings.decode import child
from pipeline.settings.models import ModelSettings
from pipeline.settings.schema import Settings, TelemetrySettings

#: The routing strategies that are acted on.
_STRATEGIES: Final = ("order", "least_busy")


def not_yet(settings: Settings) -> list[str]:
    """Give a line, with its path, for each setting away from its default without effect yet."""
    lines = [f"{path}: not acted on by this version yet" for path in _paths(settings)]
    return [*settings.left_out, *lines]


def _paths(settings: Settings) -> Iterator[str]:
    for name, model in settings.models.items():
        yield from _of_model(child("models", name), model)
    default = TelemetrySettings()
    for key in default.__struct_fields__:
        if getattr(settings.telemetry, key) != getattr(default, key):
            yield f"telemetry.{key}"


def _of_model(path: str, model: ModelSettings) -> Iterator[str]:
    if model.strategy not in _STRATEGIES:
        yield f"{path}.strategy"
    for index, deployment in enumerate(model.deployments):
        if deployment.weight != 1:
            yield f"{path}.deployments[{index}].weight"
