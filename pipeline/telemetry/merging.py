"""One place to scrape for many processes: asks each for its metrics and merges what they tell."""

import http.client
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from pipeline.telemetry import metrics
from pipeline.telemetry.exposition import written
from pipeline.telemetry.serving import PATH
from pipeline.telemetry.tallies import Family, Tally

#: The label that tells which process a sample is of.
PART: Final = "part"

#: The most that a process may take to answer; a stopped one must not hold up the others.
_PATIENCE_S: Final = 2.5


class Merged:
    """The metrics of several processes, by the host and port at which each tells its own."""

    def __init__(self, parts: Mapping[str, tuple[str, int]]) -> None:
        self._parts = parts

    def answer(self) -> bytes:
        """Ask all of them at once; who does not answer is left out, and told to be down."""
        with ThreadPoolExecutor(max(1, len(self._parts))) as pool:
            told = dict(zip(self._parts, pool.map(_ask, self._parts.values()), strict=True))
        up = Tally(metrics.PART_UP)
        for part, families in told.items():
            up.values[part,] = float(bool(families))
        return written([up.family(), *_merged(told)])


def _ask(address: tuple[str, int]) -> Sequence[Family]:
    link = http.client.HTTPConnection(*address, timeout=_PATIENCE_S)
    try:
        link.request("GET", PATH)
        answer = link.getresponse()
        text = answer.read().decode()
        return [*text_string_to_metric_families(text)] if answer.status == 200 else []
    except (OSError, http.client.HTTPException, ValueError):
        return []
    finally:
        link.close()


def _merged(told: Mapping[str, Sequence[Family]]) -> Iterator[Family]:
    """Give each family once, with the samples of all parts."""
    merged: dict[tuple[str, str], Family] = {}
    for part, families in told.items():
        for family in families:
            # The parser takes `_total` off the names of counters.
            key = family.name, family.type
            whole = merged.get(key)
            if whole is None:
                whole = Family(family.name, family.documentation, family.type, family.unit)
                merged[key] = whole
            whole.samples += [_of(part, sample) for sample in family.samples]
    yield from merged.values()


def _of(part: str, sample: Sample) -> Sample:
    return sample._replace(labels={**sample.labels, PART: part})
