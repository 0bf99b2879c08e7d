"""Counters and histograms of one process, as cheap as counting gets.

Only one thread counts, its event loop's, so nothing is locked: a record takes 0.2 µs, and 0.5
(counters) to 2 (histograms) with the library's own children; a request makes twenty of them.
Another thread may read at any time: each reading is a copy made in one step.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.utils import floatToGoString

from pipeline.telemetry.metrics import Metric

__all__ = ["Buckets", "Family", "Histogram", "Tally", "single"]

#: Values of a metric's labels, in the order of their declaration.
Labels = tuple[str, ...]

_ABOVE: Final = "+Inf"


class Tally:
    """A counter or a gauge: change `values` by the values of its labels."""

    __slots__ = ("metric", "values")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.values: defaultdict[Labels, float] = defaultdict(float)
        if not metric.labels:
            self.values[()] = 0.0

    def family(self) -> Family:
        """Give how it stands."""
        metric = self.metric
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = kind(metric.name, metric.told, labels=metric.labels)
        for labels, value in dict(self.values).items():
            family.add_metric(labels, value)
        return family


def single(metric: Metric, value: float) -> Family:
    """Give the family of a metric without labels."""
    tally = Tally(metric)
    tally.values[()] = value
    return tally.family()


class Buckets:
    """One series of a histogram."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value; one that clocks made negative counts as 0."""
        if value < 0.0:  # noqa: PLR1730 - twice as quick as max()
            value = 0.0
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def cumulated(self) -> list[int]:
        """Give how many values were not above each bound, and how many there were."""
        total = 0
        return [total := total + count for count in self.counts.copy()]


class Histogram:
    """A histogram: take its series by the values of its labels, and observe."""

    __slots__ = ("_series", "metric")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._series: dict[Labels, Buckets] = {}

    def of(self, *labels: str) -> Buckets:
        """Give a series."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Buckets(self.metric.bounds)
        return series

    def family(self) -> Family:
        """Give what has been observed so far."""
        metric = self.metric
        family = HistogramMetricFamily(metric.name, metric.told, labels=metric.labels)
        names = [*map(floatToGoString, metric.bounds), _ABOVE]
        for labels, series in dict(self._series).items():
            counts: Iterable[tuple[str, float]] = zip(names, series.cumulated(), strict=True)
            family.add_metric(labels, list(counts), series.sum)
        return family
