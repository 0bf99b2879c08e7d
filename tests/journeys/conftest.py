"""Houses to be lived in: one for all journeys, and new ones for those that need their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest

from tests.conftest import NURSERY
from tests.house_of_sluice import House, Section
from tests.journeys import forms_house
from tests.reckoning import Reckoning

BuildHouse = Callable[..., House]


def _served_by(*models: str, **limits: int) -> Section:
    deployments = [{"provider": "sim", "model": model, "limits": limits} for model in models]
    return {"deployments": deployments}


_MODELS: Section = {
    "shaky": _served_by("first:error=500", "second"),
    "slow-to-fail": _served_by("first:error=429,retry_after_ms=5000", "second:error=503", "third"),
    "broken": {**_served_by("first:error=500", "second:error=503"), "ladder": []},
    "cut": _served_by("cut:cut_at=3,tokens=10", "second"),
    "narrow": _served_by("narrow:ttft_ms=80,tokens=2", concurrency=4),
}


@pytest.fixture(scope="package")
def open_house(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Run the house that the journeys share."""
    directory = tmp_path_factory.mktemp("house")
    # Deployments that always fail have to be asked each time, or nothing could be counted.
    untiring: Section = {"sim": {"any_model": True, "breaker": {"failures": 0}}}
    with House(directory, redis_binary, {}, providers=untiring, models=_MODELS) as house:
        yield house.start(workers=2)


@pytest.fixture
def house(request: pytest.FixtureRequest, open_house: House) -> House:
    """Give the shared house."""
    request.node.stash[NURSERY] = open_house.nursery
    return open_house


@pytest.fixture
def reckoning(house: House) -> Reckoning:
    """Give the reckoning of the shared house."""
    return Reckoning(house.client, house.names)


@pytest.fixture
def build_house(
    request: pytest.FixtureRequest, redis_binary: Path, tmp_path: Path
) -> Iterator[BuildHouse]:
    """Give what builds a house of its own, not started yet but for Redis."""
    with ExitStack() as houses:

        def build(**sections: Section) -> House:
            house = House(tmp_path, redis_binary, {}, **sections)
            request.node.stash[NURSERY] = house.nursery
            return houses.enter_context(house)

        yield build


@pytest.fixture(scope="package")
def open_forms_house(
    redis_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Run the house with a provider of every kind."""
    with House(tmp_path_factory.mktemp("forms"), redis_binary, {}) as house:
        house.configure(forms_house.sections(house))
        yield house.start()


@pytest.fixture(scope="package")
def forms_client(open_forms_house: House) -> Iterator[openai.OpenAI]:
    """Give one client of that house to all: its making takes longer than a request."""
    url, key = f"{open_forms_house.url}/v1", forms_house.TOKEN
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def forms(
    request: pytest.FixtureRequest, open_forms_house: House, forms_client: openai.OpenAI
) -> openai.OpenAI:
    """Give the client of that house."""
    request.node.stash[NURSERY] = open_forms_house.nursery
    return forms_client
