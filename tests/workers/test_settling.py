"""What the end of a call means for the limits and for the health of its deployment."""

from pathlib import Path

import msgspec
import pytest

from pipeline.catalog import Catalog
from pipeline.errors import Cause, Failure, UpstreamError
from pipeline.event import Event, Facts, Lease
from tests.streams.rig import make_event
from tests.workers.bench import settings_for
from workers.settling import failed

FACTS: Facts = {"call_ms": 1.0, "deployment": "sim/two:error=503"}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(settings_for(tmp_path, "http://127.0.0.1:1/v1"))


@pytest.fixture
def event(catalog: Catalog) -> Event:
    plan = catalog.candidates("spare")
    event = make_event("r1", model="spare", plan=plan, attempts=1)
    return msgspec.structs.replace(event, lease=Lease(deployment=plan[0].deployment))


def failing(cause: Cause, *, sent: bool = True) -> UpstreamError:
    return UpstreamError(Failure(message="no", cause=cause), sent=sent)


@pytest.mark.parametrize("cause", ["bad_request", "model_not_found"])
def test_a_refusal_counts_against_the_client_once_nobody_else_is_asked(
    catalog: Catalog, event: Event, cause: Cause
) -> None:
    moved = failed(event, failing(cause), catalog, FACTS, asks_again=True)
    assert (moved.ending, moved.health) == ("again", "alive")
    ended = failed(event, failing(cause), catalog, FACTS, asks_again=False)
    assert (ended.ending, ended.health) == ("refused", "alive")


def test_what_was_never_sent_says_nothing_of_who_should_have_got_it(
    catalog: Catalog, event: Event
) -> None:
    unsaid = failing("bad_request", sent=False)
    for asks_again in (False, True):
        end = failed(event, unsaid, catalog, FACTS, asks_again=asks_again)
        assert (end.health, end.was_sent) == (None, False)
