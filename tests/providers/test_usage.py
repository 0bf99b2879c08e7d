"""Reading usage: the details that providers give, each in its own words."""

import pytest

from pipeline.event import Usage
from workers.providers.assembly import usage_of

COUNTS = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
PLAIN = Usage(prompt_tokens=100, completion_tokens=20, total_tokens=120)


@pytest.mark.parametrize(
    ("told", "cached", "written", "reasoning"),
    [
        ({}, 0, 0, 0),
        (
            {
                "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8},
                "completion_tokens_details": {"reasoning_tokens": 12},
            },
            64, 8, 12,
        ),
        ({"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}, 64, 0, 0),
        ({"prompt_tokens_details": None, "completion_tokens_details": None}, 0, 0, 0),
        ({"prompt_tokens_details": {"cached_tokens": None, "audio_tokens": 0}}, 0, 0, 0),
    ],
)  # fmt: skip
def test_details_are_read_as_providers_have_them(
    told: dict[str, object], cached: int, written: int, reasoning: int
) -> None:
    usage = usage_of({**COUNTS, **told})
    assert usage is not None
    assert usage.cached_tokens == cached
    assert usage.cache_write_tokens == written
    assert usage.reasoning_tokens == reasoning
    assert usage.total_tokens == 120


@pytest.mark.parametrize(
    ("told", "cost"),
    [
        (0.00042, 0.00042),
        (0, 0.0),
        ({"total_cost": 0.006, "request_cost": 0.005}, 0.006),
        (None, None),
        ("0.1", None),
        (True, None),
        (-1, None),
        ({}, None),
    ],
)
def test_a_cost_is_the_providers_word(told: object, cost: float | None) -> None:
    usage = usage_of({**COUNTS, "cost": told})
    assert usage is not None
    assert usage.cost == cost


def test_without_a_cost_there_is_none_and_without_usage_nothing() -> None:
    assert usage_of(COUNTS) == PLAIN
    assert usage_of(None) is None
