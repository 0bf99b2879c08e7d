"""Points in time as people write them."""

import pytest

from pipeline.errors import BadRequest
from pipeline.times import parse_time

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", 1_700_000_000),
        ("1700000000.25", 1_700_000_000.25),
        ("0", 0),
        ("90s", NOW - 90),
        ("15m", NOW - 900),
        ("2h", NOW - 7200),
        ("1.5h", NOW - 5400),
        ("1d", NOW - 86_400),
        ("1w", NOW - 604_800),
        ("1h30m", NOW - 5400),
        (" 2h ", NOW - 7200),
        ("2023-11-14T22:13:20Z", 1_700_000_000),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000),
        ("2023-11-14T22:13:20.250Z", 1_700_000_000.25),
        ("2023-11-14 22:13:20", 1_700_000_000),
        ("2023-11-14", 1_699_920_000),
    ],
)
def test_a_time_is_read_in_every_form(text: str, expected: float) -> None:
    assert parse_time(text, NOW) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2x", "h2", "-1h", "-5", "1h2", "2023-13-01", "99999w", "1e400"]
)
def test_what_is_no_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadRequest, match="`"):
        parse_time(text, NOW)


def test_a_number_beyond_all_dates_is_refused() -> None:
    with pytest.raises(BadRequest, match="outside the years"):
        parse_time("9" * 400, NOW)
