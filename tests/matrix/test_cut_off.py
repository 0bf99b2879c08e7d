"""Five failures in a row cut a deployment off; one call tries it again, and lets all back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from pipeline.limits.report import DeploymentReport, LimitsReport
from tests.conftest import NURSERY
from tests.house_of_sluice import House, Section
from tests.matrix.broken import FINE, SWITCHED, Broken, broken
from tests.waiting import eventually_async

pytestmark = [pytest.mark.journey, pytest.mark.anyio]

_BREAKER: Final = {"failures": 5, "open_s": 1, "max_open_s": 4}


def _sections(provider: Broken) -> dict[str, Section]:
    base = {"base_url": provider.url(SWITCHED), "breaker": _BREAKER}
    first = {"deployments": [{"provider": "shaky", "model": SWITCHED}]}
    return {
        "providers": {"shaky": base, "spare": base},
        "models": {
            "spared": {**first, "fallbacks": ["spare"]},
            "lone": first,
            "spare": {"deployments": [{"provider": "spare", "model": FINE}]},
        },
        "gateway": {"request_timeout_s": 20},
        "retry": {"backoff_s": 0.02, "max_backoff_s": 0.05},
    }


class _Ground:
    """A house with a deployment that fails until it `works`."""

    def __init__(self, house: House, provider: Broken) -> None:
        self.house = house
        self.provider = provider

    async def ask(self, model: str, count: int = 1) -> list[tuple[int, object]]:
        """Ask so often at once; give the statuses, and who answered or the errors' codes."""
        return await asyncio.gather(*(self._ask(model) for _ in range(count)))

    async def _ask(self, model: str) -> tuple[int, object]:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        path = "/v1/chat/completions"
        status, told = await asyncio.to_thread(self.house.ask, "POST", path, body)
        error = told.get("error")
        if isinstance(error, dict):
            return status, error["code"]
        return status, "answer"

    @property
    def calls(self) -> int:
        """Count the calls of the deployment."""
        return self.provider.calls.total()

    async def look(self) -> DeploymentReport:
        """Look at the deployment in what `sluice status` and `/stats` show."""
        _, told = await asyncio.to_thread(self.house.ask, "GET", "/stats")
        report = msgspec.convert(told["limits"], LimitsReport)
        return next(one for one in report.deployments if one.name.startswith("shaky/"))

    async def until(self, state: str) -> DeploymentReport:
        """Wait until it is cut off, may be tried, or is back."""

        async def reached() -> DeploymentReport | None:
            found = await self.look()
            return found if found.state == state else None

        found = await eventually_async(reached, 8.0, state)
        assert found
        return found


@pytest.fixture
async def ground(
    request: pytest.FixtureRequest, redis_binary: Path, tmp_path: Path
) -> AsyncIterator[_Ground]:
    """Start the house; the provider is in this loop, so nothing here may hold it up."""
    async with broken() as provider:
        with House(tmp_path, redis_binary, {}, **_sections(provider)) as house:
            request.node.stash[NURSERY] = house.nursery
            await asyncio.to_thread(house.start)
            yield _Ground(house, provider)


async def test_who_fails_is_cut_off_tried_one_call_at_a_time_and_taken_back(
    ground: _Ground,
) -> None:
    # Each is asked again once before the fallback is: the third request's second call would be
    # the sixth.
    for _ in range(3):
        assert await ground.ask("spared") == [(200, "answer")]
    cut_off = await ground.look()
    assert (ground.calls, cut_off.state, cut_off.failures, cut_off.trips) == (5, "open", 5, 0)
    assert 0 < cut_off.open_s <= 1
    assert Counter(await ground.ask("spared", 5)) == {(200, "answer"): 5}
    assert ground.calls == 5

    await ground.until("trial")
    assert Counter(await ground.ask("spared", 5)) == {(200, "answer"): 5}
    again = await ground.until("open")
    assert (ground.calls, again.trips) == (6, 1)
    assert 1 < again.open_s <= 2

    ground.provider.works = True
    await ground.until("trial")
    assert await ground.ask("spared") == [(200, "answer")]
    back = await ground.until("closed")
    assert (ground.calls, back.failures, back.trips) == (7, 0, 0)
    assert Counter(await ground.ask("spared", 5)) == {(200, "answer"): 5}
    assert ground.calls == 12


async def test_where_there_is_no_other_the_client_waits_for_the_trial_and_is_then_refused(
    ground: _Ground,
) -> None:
    assert await ground.ask("lone") == [(503, "provider_exhausted")]
    assert ground.calls == 3
    # Two more failures cut it off; the third call of this request is the trial, a second later.
    assert await ground.ask("lone") == [(503, "provider_exhausted")]
    assert ground.calls == 6
    tripped = await ground.look()
    assert (tripped.state, tripped.trips) == ("open", 1)
    assert await ground.ask("lone", 5) == [(503, "provider_exhausted")] * 5
    assert ground.calls == 6

    ground.provider.works = True
    await ground.until("trial")
    assert await ground.ask("lone") == [(200, "answer")]
    assert (await ground.until("closed")).trips == 0
    assert await ground.ask("lone", 5) == [(200, "answer")] * 5
