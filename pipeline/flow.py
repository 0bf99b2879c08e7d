"""The flow as data: which hop reads what, where each may send an event, and its drawing."""

from typing import Final

import msgspec

ROUTE: Final = "route"
GATE: Final = "gate"
CALL: Final = "call"
RESPOND: Final = "respond"


class Side(msgspec.Struct, frozen=True):
    """A way out of a hop beside the main one."""

    to: str
    why: str


class HopSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One hop: its name is its file, actor, stream, consumer group, span and metric label."""

    name: str
    #: Where an event goes when all is well.
    onward: str
    sides: tuple[Side, ...] = ()
    #: Whether a run may take minutes and is counted against `workers.calls`.
    long: bool = False


LADDER: Final = Side("ladder", "not now: back to the gate after 60 s, 10 min, 1 h, 24 h")
POLITE: Final = Side(RESPOND, "all has failed, and its model has a polite text for that")
DEAD: Final = Side("dead", "refused, exhausted or malformed: a dead letter with its cause")

HOPS: Final[tuple[HopSpec, ...]] = (
    HopSpec(name=ROUTE, onward=GATE, sides=(POLITE, DEAD)),
    HopSpec(
        name=GATE,
        onward=CALL,
        sides=(
            Side("waiting room", "no capacity now; back to the gate when there is"),
            LADDER,
            POLITE,
            DEAD,
        ),
    ),
    HopSpec(
        name=CALL,
        onward=RESPOND,
        sides=(Side(GATE, "the deployment failed; another candidate is left"), LADDER, DEAD),
        long=True,
    ),
    HopSpec(name=RESPOND, onward="done"),
)

BY_NAME: Final = {hop.name: hop for hop in HOPS}

#: The hop after which there is no other.
LAST: Final = HOPS[-1].name


def drawing() -> str:
    """Draw the flow in plain text: a line for the way onward, and one for each way aside."""
    line = "requests ─▶ "
    branching: list[tuple[HopSpec, int]] = []
    for hop in HOPS:
        if hop.sides:
            branching.append((hop, len(line)))
        line += f"{hop.name} ─▶ "
    rows = [line + HOPS[-1].onward]
    sides = list(dict.fromkeys(side for hop in reversed(HOPS) for side in hop.sides))
    sides.sort(key=lambda side: side == DEAD)
    for number, side in enumerate(sides):
        row, taken = "", False
        for hop, column in branching:
            joins, goes_on = side in hop.sides, not set(sides[number + 1 :]).isdisjoint(hop.sides)
            row = row.ljust(column, "─" if taken else " ") + _CROSSINGS[joins, goes_on, taken]
            taken = taken or joins
        rows.append(f"{row}─▶ {side.to}".ljust(46) + side.why)
    return "\n".join(rows) + "\n"


#: Where a way aside meets a hop's column: whether the hop takes it, whether the hop has further
#: ways below, whether a hop to the left has taken it.
_CROSSINGS: Final = {
    (True, True, False): "├", (True, True, True): "┼",
    (True, False, False): "└", (True, False, True): "┴",
    (False, True, False): "│", (False, True, True): "│",
    (False, False, False): " ", (False, False, True): "─",
}  # fmt: skip
