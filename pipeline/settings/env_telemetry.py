"""What OpenTelemetry's standard variables configure of tracing; what the file says goes before it.

Headers, certificates, compression, the batch processor's `OTEL_BSP_…` and the resource's
attributes are read by the SDK itself.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from pipeline.settings.decode import Text
from pipeline.settings.file import Tree

#: Settings, and the variables that stand for them, the first that is set.
_DIRECT: Final[Mapping[str, tuple[str, ...]]] = {
    "otlp_endpoint": ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    "protocol": ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"),
    "timeout_s": ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"),
}
_EXPORTER, _DISABLED = "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"
_SAMPLER, _SHARE = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

#: The share that each sampler takes; none: that of its argument.
_SAMPLERS: Final[Mapping[str, str]] = {"always_on": "1", "always_off": "0", "traceidratio": ""}
_PARENT_BASED: Final = "parentbased_"


def telemetry(environ: Mapping[str, str]) -> tuple[Tree, list[str]]:
    """Give what the variables stand for, and a fault for each that names what we have not."""
    env = {name: text.strip() for name, text in environ.items() if text.strip()}
    tree: Tree = {
        key: Text(env[name], name)
        for key, names in _DIRECT.items()
        for name in [next((name for name in names if name in env), "")]
        if name
    }
    if env.get(_DISABLED, "").lower() == "true" or env.get(_EXPORTER) == "none":
        tree.pop("otlp_endpoint", None)
    if env.get(_CONTENT, "").lower() in ("true", "span_only", "span_and_event"):
        tree["capture_content"] = True
    tree |= _sampler(env)
    return tree, list(_faults(env))


def _sampler(env: Mapping[str, str]) -> Tree:
    if _SAMPLER not in env:
        return {}
    kind = env[_SAMPLER].removeprefix(_PARENT_BASED)
    share = _SAMPLERS.get(kind) or env.get(_SHARE, "1")
    return {
        "parent_based": env[_SAMPLER].startswith(_PARENT_BASED),
        "sampling": Text(share, _SHARE if kind == "traceidratio" else _SAMPLER),
    }


def _faults(env: Mapping[str, str]) -> Iterator[str]:
    if env.get(_EXPORTER, "otlp") not in ("otlp", "none"):
        yield f"{_EXPORTER}: expected otlp or none"
    if env.get(_SAMPLER, "always_on").removeprefix(_PARENT_BASED) not in _SAMPLERS:
        kinds = " or ".join(_SAMPLERS)
        yield f"{_SAMPLER}: expected {kinds}, each of them also with {_PARENT_BASED} before it"
