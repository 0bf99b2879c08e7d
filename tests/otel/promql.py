"""What an expression of Prometheus's language asks for; one that it cannot read fails."""

from collections.abc import Iterator

import promql_parser

from pipeline.telemetry import metrics

#: What Prometheus itself tells.
BUILT_IN = frozenset({"up", "ALERTS"})

#: What Grafana puts in before it asks.
_VARIABLES = {"$__rate_interval": "5m"}

#: Read from Redis at each scrape, and so told by every gateway alike: added up, it would be counted
#: as often as there are gateways.
SHARED = (
    "sluice_stream_", "sluice_group_", "sluice_waiting", "sluice_rung_events", "sluice_leases",
    "sluice_keys", "sluice_deployment_cut_off", "sluice_workers", "sluice_gateways",
    "sluice_redis_memory_", "sluice_redis_up", "sluice_events_",
)  # fmt: skip


def parsed(expression: str) -> promql_parser.Expr:
    """Read an expression, with Grafana's variables put in."""
    for variable, value in _VARIABLES.items():
        expression = expression.replace(variable, value)
    return promql_parser.parse(expression)


def metrics_of(expression: str) -> set[str]:
    """Name the metrics that an expression reads, as they are declared."""
    return {family(name) for name, _ in _selected(expression)}


def added_up(expression: str) -> set[str]:
    """Name the metrics told by every gateway alike whose nearest aggregation is none of them."""
    return {
        name
        for name, operation in _selected(expression)
        if (name.startswith(SHARED) or name == "sluice_dead_letters_kept")
        and operation not in ("max", "min")
    }


def family(sample: str) -> str:
    """Name the metric of a sample: a histogram's has a suffix."""
    for suffix in ("_bucket", "_sum", "_count"):
        if sample.endswith(f"_seconds{suffix}"):
            return sample.removesuffix(suffix)
    return sample


def declared() -> frozenset[str]:
    """Name the metrics that Sluice declares."""
    names = metrics.declared()
    assert names
    return names


def _selected(expression: str) -> list[tuple[str, str]]:
    """List the samples that are read, each with the aggregation nearest around it."""
    around: list[str] = []
    found: list[tuple[str, str]] = []

    def enter(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr):
            around.append(str(node.op))
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name, f"a selector names no metric: {expression}"
            found.append((node.name, around[-1] if around else ""))

    def leave(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr):
            around.pop()

    promql_parser.walk(parsed(expression), enter, leave)
    return found


def legend_labels(legend: str) -> Iterator[str]:
    """Name the labels that a legend shows."""
    for part in legend.split("{{")[1:]:
        yield part.partition("}}")[0].strip()
