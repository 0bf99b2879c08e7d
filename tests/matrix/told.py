"""The matrix as the README tells it: a line for all faults that fare alike.

`python -m tests.matrix` prints it.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.matrix.table import ANSWER, CUT, NOTHING, ROWS, SPARED, TOO_LATE, Cells, Row

HEAD: Final = (
    "| what fails | asked again at once (where there is another deployment) | another key"
    " | another deployment | what rests | when nothing helps, the client sees | climbs |\n"
    "|---|---|---|---|---|---|---|\n"
)
_DELTAS: Final = (" before the first delta", " after the first delta")
_TIMES: Final = ("no", "once", "twice")


class _Fate(NamedTuple):
    """What becomes of a fault, a column each."""

    again: str
    key: str
    deployment: str
    rests: str
    sees: str
    climbs: str


def markdown() -> str:
    """Write the table."""
    alike: dict[_Fate, list[str]] = {}
    for row in ROWS:
        if row.is_told:
            alike.setdefault(_fate(row), []).append(row.fault)
    return HEAD + "".join(
        f"| {_named(faults)} | {' | '.join(fate)} |\n" for fate, faults in alike.items()
    )


def _named(faults: list[str]) -> str:
    """Name faults that fare alike, what they have in common but once."""
    parts = [", ".join(fault for fault in faults if not fault.endswith(_DELTAS))]
    for when in _DELTAS:
        those = [fault.removesuffix(when) for fault in faults if fault.endswith(when)]
        parts.append(f"{when.strip()}: {', '.join(those)}" * bool(those))
    return "; ".join(filter(None, parts))


def _fate(row: Row) -> _Fate:
    # A whole answer that breaks off fares as a stream does before its first delta, which has a
    # row of its own.
    one, many, fallback = cells = row.cells(stream=True)
    key = "at once" if many.calls > one.calls else "in turn" if one.calls > 1 else "no"
    spared = "yes" if row.fallbacks == "fallbacks" else f"`{row.fallbacks}`"
    climbs = {"climbs": "yes", "waits": "waits", "fails": "no", "answered": "no"}
    return _Fate(
        again=_again(row, cells),
        key=key,
        deployment=spared if fallback.sees == SPARED else "no",
        rests=", ".join(_rests(row)) or "nothing",
        sees=_sees(one.sees),
        climbs=climbs[row.patient],
    )


def _again(row: Row, cells: Cells) -> str:
    one, _, fallback = (cell.calls - 1 for cell in cells)
    if row.has_hint and one:
        return f"after each hint, {one} times"
    return _TIMES[one] if one == fallback else f"{_TIMES[one]} ({_TIMES[fallback]})"


def _rests(row: Row) -> Iterator[str]:
    left = row.cells(stream=True)[0].rests
    how_long = "for the hint" if row.has_hint else "for `cooldown_s`"
    if "failure" in left:
        yield "the breaker counts it"
    if "dead" in left:
        yield "the key is dead"
    elif "deployment" in left:
        yield f"the deployment {how_long}"
    elif row.limits_per == "account":
        yield f"all keys {how_long}"
    elif "rests" in left or row.has_hint:
        yield f"the key {how_long}"


def _sees(sees: str) -> str:
    if sees == TOO_LATE:
        return "429 `deadline_unreachable`, where its timeout is sooner"
    if sees == CUT:
        return "`stream_interrupted` after the deltas"
    if sees in (ANSWER, NOTHING):
        return f"the {sees}"
    _, status, code = sees.split()
    if int(status) < 500:
        return "the provider's status and words"
    return f"{status} `{code}`"
