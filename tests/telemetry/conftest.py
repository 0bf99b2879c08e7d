"""Houses whose traces are collected."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import NURSERY
from tests.house_of_sluice import House, Section
from tests.telemetry.collector import Collector


class TracedHouse(House):
    """A house that exports its traces soon, to a collector of the test's."""

    def __init__(
        self, directory: Path, binary: Path, collector_url: str, **sections: Section
    ) -> None:
        told: Section = {"otlp_endpoint": collector_url, **sections.pop("telemetry", {})}
        super().__init__(directory, binary, {}, telemetry=told, **sections)
        self.variables["OTEL_BSP_SCHEDULE_DELAY"] = "100"


BuildTraced = Callable[..., TracedHouse]


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    """Run a collector for all tests of this folder."""
    with Collector() as collector:
        yield collector


@pytest.fixture
def build_traced(
    request: pytest.FixtureRequest, redis_binary: Path, tmp_path: Path, collector: Collector
) -> Iterator[BuildTraced]:
    """Give what builds a traced house of a test's own, not started yet but for Redis."""
    with ExitStack() as houses:

        def build(url: str = "", **sections: Section) -> TracedHouse:
            house = TracedHouse(tmp_path, redis_binary, url or collector.url, **sections)
            request.node.stash[NURSERY] = house.nursery
            return houses.enter_context(house)

        yield build


def _served_by(*models: str, **settings: object) -> Section:
    return {"deployments": [{"provider": "sim", "model": model} for model in models], **settings}


def _limited(model: str, **limits: int) -> Section:
    return {"deployments": [{"provider": "sim", "model": model, "limits": limits}]}


_MODELS: Final[Section] = {
    "limited": _served_by("limited:error=429,retry_after_ms=400,error_first=1,tokens=3"),
    "shaky": _served_by("first:error=503,retry_after_ms=5000", "second:tokens=3"),
    "broken": _served_by("first:error=500", ladder=[]),
    "climbs": _served_by("climbs:error=503,error_first=1,tokens=3", ladder=[1]),
    "narrow": _limited("narrow:ttft_ms=150,tokens=2", concurrency=1),
}


@pytest.fixture(scope="package")
def traced(
    redis_binary: Path, tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[House]:
    """Run the house that these tests share."""
    directory = tmp_path_factory.mktemp("traced")
    untiring: Section = {
        "sim": {"any_model": True, "breaker": {"failures": 0}, "keys": ["sk-the-marked-key"]}
    }
    sections: dict[str, Section] = {
        "providers": untiring, "models": _MODELS, "retry": {"quick": 0},
        "telemetry": {"to_providers": True, "jaeger_url": "http://127.0.0.1:16686"},
    }  # fmt: skip
    with TracedHouse(directory, redis_binary, collector.url, **sections) as house:
        yield house.start()


@pytest.fixture
def house(request: pytest.FixtureRequest, traced: House) -> House:
    """Give that house."""
    request.node.stash[NURSERY] = traced.nursery
    return traced
