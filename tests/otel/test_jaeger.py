"""otel/jaeger.yaml: every component is declared, used and known, and metrics count every span."""

from typing import Annotated

import msgspec
import pytest

from pipeline.telemetry import names
from tests.otel.files import Sealed, yaml_file

#: Declared and not in a pipeline: it stands ready.
READY = {"tail_sampling"}
#: What the image has, of what one might use: cmd/jaeger/internal/components.go names them.
KNOWN = {
    "receivers": {"otlp"},
    "processors": {"batch", "memory_limiter", "tail_sampling"},
    "exporters": {"jaeger_storage_exporter", "prometheus", "debug", "otlp"},
    "connectors": {"spanmetrics", "forward"},
    "extensions": {"jaeger_storage", "jaeger_query", "healthcheckv2"},
}

Tree = dict[str, object]


class Pipeline(Sealed, frozen=True, kw_only=True):
    """One way through the collector."""

    receivers: list[str]
    exporters: list[str]
    processors: tuple[str, ...] = ()


class Running(Sealed, frozen=True, kw_only=True):
    """What is in force of all that is declared."""

    extensions: list[str]
    pipelines: dict[str, Pipeline]
    telemetry: Tree


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One reason to keep a trace; it is told under the name of its type."""

    name: str
    type: str


class Sampling(Sealed, frozen=True, kw_only=True):
    """The processor that stands ready."""

    decision_wait: str
    num_traces: Annotated[int, msgspec.Meta(gt=0)]
    decision_cache: dict[str, int]
    policies: list[Tree]


class Jaeger(Sealed, frozen=True, kw_only=True):
    """The file."""

    receivers: Tree
    processors: Tree
    exporters: Tree
    connectors: Tree
    extensions: Tree
    service: Running


@pytest.fixture(scope="module")
def jaeger() -> Jaeger:
    return yaml_file("otel/jaeger.yaml", Jaeger)


def at(tree: object, *path: str) -> object:
    """Give what stands at a path."""
    for key in path:
        assert isinstance(tree, dict), path
        tree = tree[key]
    return tree


def attributes() -> set[object]:
    """Name every attribute of our spans."""
    return {value for value in vars(names).values() if isinstance(value, str)}


def used(jaeger: Jaeger, kind: str) -> set[str]:
    """Name what the pipelines use of a kind; connectors are what is both received and exported."""
    pipelines = jaeger.service.pipelines.values()
    received = {name for one in pipelines for name in one.receivers}
    exported = {name for one in pipelines for name in one.exporters}
    return {
        "receivers": received - exported,
        "exporters": exported - received,
        "connectors": received & exported,
        "processors": {name for one in pipelines for name in one.processors},
        "extensions": set(jaeger.service.extensions),
    }[kind]


@pytest.mark.parametrize("kind", KNOWN)
def test_every_component_is_known_declared_and_used(jaeger: Jaeger, kind: str) -> None:
    declared: Tree = getattr(jaeger, kind)

    assert set(declared) <= KNOWN[kind]
    assert set(declared) - READY == used(jaeger, kind)


def test_it_receives_beyond_its_own_container(jaeger: Jaeger) -> None:
    protocols = at(jaeger.receivers, "otlp", "protocols")

    assert at(protocols, "grpc", "endpoint") == "0.0.0.0:4317"
    assert at(protocols, "http", "endpoint") == "0.0.0.0:4318"
    assert at(jaeger.extensions, "jaeger_query", "http", "endpoint") == "0.0.0.0:16686"
    assert at(jaeger.exporters, "prometheus", "endpoint") == "0.0.0.0:8889"


def test_metrics_count_every_span_whatever_is_kept(jaeger: Jaeger) -> None:
    pipelines = jaeger.service.pipelines
    (counted,) = (one for one in pipelines.values() if "spanmetrics" in one.exporters)
    (told,) = (one for one in pipelines.values() if "spanmetrics" in one.receivers)

    assert counted.receivers == ["otlp"]
    assert counted.processors == ()
    assert told.exporters == ["prometheus"]


def test_every_trace_is_kept_as_it_stands(jaeger: Jaeger) -> None:
    (kept,) = (
        one
        for one in jaeger.service.pipelines.values()
        if "jaeger_storage_exporter" in one.exporters
    )
    assert (kept.receivers, kept.processors) == (["otlp"], ("batch",))


def test_what_is_stored_is_what_is_shown(jaeger: Jaeger) -> None:
    storage = at(jaeger.extensions, "jaeger_storage")
    shown = at(jaeger.extensions, "jaeger_query", "storage")
    traces = at(jaeger.exporters, "jaeger_storage_exporter", "trace_storage")

    assert at(shown, "traces") == traces
    assert at(storage, "backends", str(traces), "memory", "max_traces") == 20000
    assert at(storage, "metric_backends", str(at(shown, "metrics")), "prometheus", "endpoint")


def test_spans_are_counted_by_attributes_that_we_write(jaeger: Jaeger) -> None:
    dimensions = at(jaeger.connectors, "spanmetrics", "dimensions")
    assert isinstance(dimensions, list)

    assert dimensions
    assert {at(one, "name") for one in dimensions} <= attributes()


def test_the_sampling_that_stands_ready_asks_for_attributes_that_we_write(jaeger: Jaeger) -> None:
    sampling = msgspec.convert(jaeger.processors["tail_sampling"], Sampling)
    policies = [(msgspec.convert(one, Policy), one) for one in sampling.policies]
    keys = [at(one, policy.type, "key") for policy, one in policies if "key" in str(one)]

    assert all(set(one) == {"name", "type", policy.type} for policy, one in policies)
    assert len({policy.name for policy, _ in policies}) == len(policies)
    assert {policy.type for policy, _ in policies} >= {"status_code", "latency", "probabilistic"}
    assert keys
    assert set(keys) <= attributes()
