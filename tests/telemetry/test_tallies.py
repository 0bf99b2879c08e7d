"""Tallies tell what the library's own counters and histograms would."""

from typing import Final

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pipeline.telemetry import metrics
from pipeline.telemetry.exposition import written
from pipeline.telemetry.metrics import Metric
from pipeline.telemetry.tallies import Histogram, Tally, single
from tests.telemetry.scrape import Scrape

_SPREAD: Final = Metric(
    name="spread_seconds", kind="histogram", told="Spread", labels=("hop",), bounds=(0.1, 1.0, 10.0)
)
_COUNT: Final = Metric(name="times_total", kind="counter", told="Times", labels=("hop",))


@given(st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.1000001, 0.5, 1.0, 9.9, 10.0, 10.5, 1e6])))
def test_a_histogram_counts_as_the_librarys_own_does(values: list[float]) -> None:
    registry = CollectorRegistry()
    theirs = prometheus_client.Histogram(
        "spread_seconds", "Spread", ["hop"], buckets=_SPREAD.bounds, registry=registry
    )
    ours = Histogram(_SPREAD)
    for value in values:
        theirs.labels("gate").observe(value)
        ours.of("gate").observe(value)
    expected = Scrape(prometheus_client.generate_latest(registry).decode())
    found = Scrape(written([ours.family()]).decode())
    assert {(s.name, tuple(s.labels.items()), s.value) for s in found.samples} == {
        (s.name, tuple(s.labels.items()), s.value)
        for s in expected.samples
        if not s.name.endswith("_created")
    }


def test_a_time_that_clocks_made_negative_counts_as_none() -> None:
    ours = Histogram(_SPREAD)
    ours.of("gate").observe(-0.3)
    found = Scrape(written([ours.family()]).decode())
    assert found.total("spread_seconds_bucket", le="0.1") == 1
    assert found.total("spread_seconds_sum") == 0


def test_counters_and_gauges_are_told_with_their_labels_escaped() -> None:
    tally = Tally(_COUNT)
    tally.values['a"\\b\nc',] += 2
    found = Scrape(written([tally.family(), single(metrics.WORKERS, 3)]).decode())
    assert found.total("times_total", hop='a"\\b\nc') == 2
    assert found.total("sluice_workers") == 3


def test_a_counter_without_labels_begins_at_0() -> None:
    found = Scrape(written([Tally(metrics.EVENTS_LOST).family()]).decode())
    assert found.names == {"sluice_events_lost_total"}


def test_all_metrics_are_named_as_prometheus_wants_them() -> None:
    for name in metrics.declared():
        assert name.startswith(("sluice_", "gen_ai_client_")), name
    declared = {
        metric.name: metric for metric in vars(metrics).values() if isinstance(metric, Metric)
    }
    assert declared.keys() == metrics.declared()
    for metric in declared.values():
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert (metric.kind == "histogram") == bool(metric.bounds)
        assert list(metric.bounds) == sorted(set(metric.bounds))


@pytest.mark.parametrize("label", ["user", "request_id", "key", "path", "prompt"])
def test_no_label_is_one_that_clients_fill(label: str) -> None:
    declared = [metric for metric in vars(metrics).values() if isinstance(metric, Metric)]
    assert declared
    assert not [metric.name for metric in declared if label in metric.labels]
