"""What `sluice reload` tells: names and limits, never a secret."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from pipeline.cli.taking_over import Part
from pipeline.limits.caps import GATE, UNLIMITED, VERSION, Cap
from pipeline.limits.fingerprint import Differences
from pipeline.limits.refusals import scope_of
from pipeline.names import SCOPES

_KINDS: Final = {"d": "deployment", "p": "provider"}
_FIELDS: Final = ("rpm", "burst", "tpm", "rpd", "tpd", "concurrency")


class ChangedLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit, and how it was and is."""

    name: str
    before: str
    after: str


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload came to, or would."""

    source: str
    version: str
    is_dry: bool
    limits: list[ChangedLimit]
    #: None: no worker has published what it goes by.
    differences: Differences | None
    #: What differs and takes a restart, by path.
    needs_restart: list[str]
    parts: list[Part] = []
    warnings: list[str] = []

    @property
    def is_complete(self) -> bool:
        """Whether no part goes by another configuration."""
        return all(part.took_over for part in self.parts)


def changed_limits(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[ChangedLimit]:
    """List the limits that differ between two published hashes."""
    # What a class leaves of a limit follows from the limit.
    names = (name for name in sorted({*before, *after} - {VERSION}) if "!" not in name)
    return [
        ChangedLimit(
            name=_named(name),
            before=_written(name, before.get(name)),
            after=_written(name, after.get(name)),
        )
        for name in names
        if before.get(name) != after.get(name)
    ]


def lines(reloaded: Reloaded) -> Iterator[str]:
    """Tell what a reload came to."""
    holds = "would hold" if reloaded.is_dry else "is published"
    yield f"The configuration {reloaded.version} of {reloaded.source} {holds}."
    if reloaded.differences is None:
        yield "What else differs is not known: no worker has started here yet."
    else:
        differ = reloaded.differences
        named = {"new": differ.added, "gone": differ.removed, "changed": differ.changed}
        yield from (f"  {name} is {what}" for what, names in named.items() for name in names)
    count = len(reloaded.limits)
    yield f"{'1 limit' if count == 1 else f'{count} limits'} changed."
    for one in reloaded.limits:
        yield f"  {one.name}: {one.before} → {one.after}"
    if reloaded.needs_restart:
        yield "This takes a restart:"
        yield from (f"  {path}" for path in reloaded.needs_restart)
    yield from (f"Warning: {warning}" for warning in reloaded.warnings)
    if not reloaded.is_dry:
        yield from _parts(reloaded)


def _parts(reloaded: Reloaded) -> Iterator[str]:
    took_over = [part for part in reloaded.parts if part.took_over]
    if not reloaded.parts:
        yield "No part runs: what starts from now on goes by it."
    elif took_over:
        named = ", ".join(f"{part.kind} {part.name}" for part in took_over)
        yield f"It is in force in {named}."
    for part in reloaded.parts:
        if not part.took_over:
            yield f"It is NOT in force in {part.kind} {part.name}:"
            yield from (f"  {why}" for why in part.why)


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
