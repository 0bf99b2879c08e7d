"""Points in time as people write them: RFC 3339, Unix seconds, or an age such as `2h`."""

import re
from datetime import UTC, datetime
from typing import Final

from pipeline.errors import BadRequest

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNIX: Final = re.compile(r"\d+(?:\.\d+)?")

#: Beyond it no date can be written any more.
_LAST_S: Final = 253_402_300_799


def parse_time(text: str, now: float) -> float:
    """Read a point in time; gives Unix seconds.

    An age such as `90s`, `15m`, `2h`, `1d`, `1w` or `1h30m` is subtracted from `now`. A date
    without an offset is taken as UTC. Raises `BadRequest`, which says what may be written.
    """
    text = text.strip()
    if _UNIX.fullmatch(text):
        seconds = float(text)
    elif text and not _AGE.sub("", text):
        seconds = now - sum(float(n) * _UNITS_S[unit] for n, unit in _AGE.findall(text))
    else:
        seconds = _date(text)
    if not 0 <= seconds <= _LAST_S:
        raise BadRequest(f"`{text}` lies outside the years that can be written")
    return seconds


def _date(text: str) -> float:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(
            f"`{text}` is no time: write 2026-07-01T12:00:00Z, Unix seconds, or an age such as 2h"
        ) from None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
