"""`sluice keys`: the providers' keys with their state, and the way to revive dead ones."""

from collections.abc import Sequence

import msgspec

from pipeline.cli import looking
from pipeline.cli.limits_view import keys as table
from pipeline.cli.options import Where
from pipeline.cli.place import find
from pipeline.cli.plain_table import screen
from pipeline.errors import StartError


class Revived(msgspec.Struct, frozen=True, kw_only=True):
    """What reviving came to, by the keys' public names."""

    revived: list[str]
    #: Those that were not dead.
    alive: list[str]


def run(where: Where, *, as_json: bool) -> None:
    """Print all keys."""
    spot = find(where)
    with spot.client() as client:
        looking.follow_clock(client, spot.names)
        reports = looking.report(client, spot).keys
    if as_json:
        print(msgspec.json.encode(reports).decode())
    else:
        screen().print(table(reports))


def revive(where: Where, names: Sequence[str], *, as_json: bool) -> None:
    """Let dead keys be used again at once. Raises `StartError` for a key that is not known."""
    spot = find(where)
    with spot.client() as client:
        looking.follow_clock(client, spot.names)
        states = {key.name: key.state for key in looking.report(client, spot).keys}
        unknown = [name for name in names if name not in states]
        if unknown:
            known = ", ".join(states) or "none"
            raise StartError(f"no key is named {', '.join(unknown)}; there are {known}")
        looking.admit(client, spot.names, "revive", *names)
    done = Revived(
        revived=[name for name in names if states[name] == "dead"],
        alive=[name for name in names if states[name] != "dead"],
    )
    if as_json:
        print(msgspec.json.encode(done).decode())
        return
    for name in done.revived:
        print(f"{name} is used again.")
    for name in done.alive:
        print(f"{name} was not dead.")
