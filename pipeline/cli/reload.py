"""`sluice reload`: makes the limits of the configuration file the ones that hold."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
import redis

from pipeline.catalog import Catalog
from pipeline.cli import looking
from pipeline.cli.entries import read_hash
from pipeline.cli.options import Where
from pipeline.cli.place import Place, find
from pipeline.limits.caps import GATE, UNLIMITED, VERSION, Cap, caps_key, published
from pipeline.limits.fingerprint import differences, fingerprints
from pipeline.limits.refusals import SCOPES, scope_of
from pipeline.limits.runner import PUBLISH

_KINDS: Final = {"d": "deployment", "p": "provider"}
_FIELDS: Final = ("rpm", "burst", "tpm", "rpd", "tpd", "concurrency")


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """Something that holds from now on, and how it was and is."""

    name: str
    before: str
    after: str


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What reloading came to."""

    source: str
    changed: list[Changed]
    #: What differs in the file and takes a restart; None: no worker has said what it goes by.
    needs_restart: list[str] | None


def run(where: Where, *, as_json: bool) -> None:
    """Publish the file's limits and print what became of it."""
    spot = find(where)
    with spot.client() as client:
        looking.follow_clock(client, spot.names)
        reloaded = _reload(client, spot)
    if as_json:
        print(msgspec.json.encode(reloaded).decode())
    else:
        print("\n".join(_lines(reloaded)))


def _reload(client: redis.Redis, spot: Place) -> Reloaded:
    catalog, key = Catalog(spot.settings), caps_key(spot.names)
    before, after = read_hash(client, key), published(spot.settings, catalog)
    # What the workers go by beside limits stays as it is.
    prints = before.get(VERSION)
    fields = after if prints is None else {**after, VERSION: prints}
    client.eval(PUBLISH.text, 1, spot.names.limits, *(x for pair in fields.items() for x in pair))
    looking.admit(client, spot.names, "alarm")
    known = msgspec.msgpack.decode(prints, type=dict[str, str]) if prints else None
    return Reloaded(
        source=spot.settings.source,
        changed=list(_changes(before, after)),
        needs_restart=None
        if known is None
        else differences(known, fingerprints(spot.settings, catalog)),
    )


def _changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[Changed]:
    for name in sorted({*before, *after} - {VERSION}):
        old, new = before.get(name), after.get(name)
        # What a class leaves of a limit follows from the limit.
        if old != new and "!" not in name:
            yield Changed(name=_named(name), before=_written(name, old), after=_written(name, new))


def _named(name: str) -> str:
    if name == GATE:
        return "waiting rooms"
    kind, _, rest = name.partition(":")
    if kind in _KINDS:
        return f"{_KINDS[kind]} {rest}"
    ours, whole = scope_of(name)
    if kind != "t" and ":" not in rest:
        return f"each other {SCOPES[kind]} of {rest}"
    return f"{ours} {whole}"


def _written(name: str, packed: bytes | None) -> str:
    if name == GATE:
        aging_ms, most, probe_ms = msgspec.msgpack.decode(packed) if packed else (0, 0, 0)
        return (
            f"aging_s {aging_ms / 1000:g}, max_queue_size {most}, probe_s {probe_ms / 1000:g}"
            if packed
            else "none"
        )
    cap = msgspec.msgpack.decode(packed, type=Cap) if packed else UNLIMITED
    parts = [f"{field} {getattr(cap, field)}" for field in _FIELDS if getattr(cap, field) >= 0]
    if cap.window >= 0:
        parts.append(f"{cap.window} in {cap.window_ms / 1000:g} s")
    return ", ".join(parts) or "none"


def _lines(reloaded: Reloaded) -> Iterator[str]:
    count = len(reloaded.changed)
    limits = "1 limit" if count == 1 else f"{count} limits"
    yield f"{limits} changed; those of {reloaded.source} hold from the next request on."
    for one in reloaded.changed:
        yield f"  {one.name}: {one.before} → {one.after}"
    if reloaded.needs_restart is None:
        yield "No worker has published what else it goes by: none has started here yet."
    elif reloaded.needs_restart:
        yield "This takes a restart of the workers and gateways:"
        yield from (f"  {difference}" for difference in reloaded.needs_restart)
