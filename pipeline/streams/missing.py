"""Finding requests of which somebody else has deleted the entry, by XTRIM or XDEL.

Each accepted request is found again by its lane's stream, which keeps it for the retention. Without
this its client would wait for ever, and nobody would be told.
"""

from typing import Final

from pipeline import clock
from pipeline.errors import Failure
from pipeline.names import LANES, Names
from pipeline.streams.link import Link
from pipeline.streams.scripts import MISSING

#: Entries looked at in one call of the script, some 2 µs each, and of each lane in one round.
_SLICE: Final = 500
_ROUND: Final = 10_000

_MARK: Final = b"missing"

LOST: Final = Failure(
    message="Somebody else deleted an entry of this request from a stream of Sluice; replay it",
    code="request_lost",
    cause="bug",
)


def leg_of(fields: list[bytes]) -> int:
    """Tell the leg in which an entry's request was lost; 0: it was not."""
    marks = [value for name, value in zip(fields[::2], fields[1::2], strict=True) if name == _MARK]
    # Producers may write what they like.
    return int(marks[-1]) if marks and marks[-1].isdigit() else 0


async def find_missing(link: Link, names: Names, age_s: float) -> None:
    """Bring back whom nobody holds, of those accepted so long ago: they end as `LOST`.

    A round goes on where the last one ended, and begins anew at the end. Raises `LinkError`.
    """
    before_ms = int((clock.now() - age_s) * 1000)
    for lane in LANES:
        looked = 0
        while looked < _ROUND:
            seen = await link.run(MISSING, [names.prefix], [names.prefix, lane, _SLICE, before_ms])
            looked += seen
            if seen < _SLICE:
                break
