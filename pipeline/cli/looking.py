"""Looks at the limits, and moves what waits, with the scripts that the workers use."""

from typing import cast

import redis

from pipeline import clock
from pipeline.catalog import Catalog
from pipeline.cli.place import Place
from pipeline.limits.report import LimitsReport
from pipeline.limits.reporter import Reporter
from pipeline.limits.runner import ADMISSION
from pipeline.limits.tickets import id_of
from pipeline.limits.view import LOOK, Sight, keys, read
from pipeline.names import Names
from pipeline.streams.scripts import WAKE

#: Calls of one verb at the most; each lets some dozens in.
_MOST_CALLS = 200


def follow_clock(client: redis.Redis, names: Names) -> float:
    """Set this process's clock to Redis's; gives the time in Unix seconds."""
    asked_s = clock.asking()
    seconds, microseconds = client.time()
    now = float(seconds) + microseconds / 1e6 + float(client.get(names.clock) or 0)
    clock.follow(now, asked_s)
    return now


def look(client: redis.Redis, names: Names, packed: bytes) -> Sight:
    """Look once."""
    found = client.eval(LOOK.text, 2, *keys(names), packed)
    return read(cast("bytes", found))


def report(client: redis.Redis, place: Place) -> LimitsReport:
    """Report everything about the limits."""
    reporter = Reporter(place.settings, Catalog(place.settings))
    return reporter.report([look(client, place.names, asked) for asked in reporter.questions()])


def admit(client: redis.Redis, names: Names, verb: str, *items: str) -> None:
    """Say a verb to admission, then look until everyone is in whom it lets in at once.

    What admission would have us look at later, the workers are left to find.
    """
    look_in = _run(client, names, verb, *items)
    for _ in range(_MOST_CALLS):
        if not 0 <= look_in <= 1:
            break
        look_in = _run(client, names, "alarm")
    if look_in >= 0:
        client.delete(f"{names.limits}:alarm")


def _run(client: redis.Redis, names: Names, verb: str, *items: str) -> int:
    found = client.eval(ADMISSION.text, 2, *keys(names), verb, *items)
    _, woken, look_in = cast("tuple[list[bytes], list[bytes], int]", found)
    if woken:
        ids = [id_of(ticket.decode()) for ticket in woken]
        client.eval(WAKE.text, 1, names.parked, names.prefix, f"{clock.now():.3f}", *ids)
    return look_in
