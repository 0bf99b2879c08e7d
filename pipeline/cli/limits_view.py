"""How limits look in a terminal: who may use how much, who waits, what providers allow."""

from collections.abc import Iterable, Iterator
from typing import Final

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from pipeline import clock
from pipeline.cli.durations import duration
from pipeline.cli.plain_table import plain_table
from pipeline.limits.report import (
    DeploymentReport,
    KeyReport,
    LimitsReport,
    Part,
    RoomReport,
    TenantReport,
    Use,
)

#: The columns, by dimension.
_HEADINGS: Final = {
    "rpm": "req/min",
    "tpm": "tok/min",
    "rpd": "req/day",
    "tpd": "tok/day",
    "concurrency": "at once",
    "window": "window",
}
_COLOURS: Final = {"ok": "green", "resting": "yellow", "dead": "red"}

#: A name, what it uses, and how it is.
Row = tuple[str, Use, str]


def lines(report: LimitsReport) -> Iterator[RenderableType]:
    """Lay out what there is, in the order of the flow."""
    tenants = [row for tenant in report.tenants for row in _of_tenant(tenant)]
    if tenants:
        yield from ("", _table("our limits", tenants))
    if report.rooms:
        yield from ("", _rooms(report.rooms))
    deployments = [(escape(one.name), one.use, _health(one)) for one in report.deployments]
    if deployments:
        yield from ("", _table("deployment", deployments))
    accounts = [(escape(one.name), one.use, _state(one.use)) for one in report.accounts]
    if accounts:
        yield from ("", _table("account", accounts))
    if report.keys:
        yield from ("", keys(report.keys))
    uses = [one.use for one in report.deployments] + [one.use for one in report.accounts]
    uses += [use for key in report.keys for use in key.models.values()]
    if any(use.found for use in uses):
        yield "[dim]~ a limit as its provider showed it, or as it was found[/]"


def keys(reports: Iterable[KeyReport]) -> Table:
    """Lay out keys with their state, a line for each model where limits are the key's."""
    return _table("key", [row for key in reports for row in _of_key(key)])


def _of_tenant(tenant: TenantReport) -> Iterator[Row]:
    yield f"tenant {escape(tenant.name)}", tenant.use, _state(tenant.use) or _unlimited(tenant.use)
    for kind, parts in (
        ("user", tenant.users),
        ("token", tenant.tokens),
        ("model", tenant.models),
    ):
        yield from ((f"  {_named(kind, part)}", part.use, _state(part.use)) for part in parts)


def _named(kind: str, part: Part) -> str:
    return f"each other {kind}" if part.name == "default" else f"{kind} {escape(part.name)}"


def _unlimited(use: Use) -> str:
    return "" if use.limits else "no limits"


def _of_key(key: KeyReport) -> Iterator[Row]:
    name = f"{escape(key.name)} [dim]{escape(key.key)}[/]".replace(" [dim][/]", "")
    state = f"[{_COLOURS[key.state]}]{_key_state(key)}[/]"
    if len(key.models) == 1:
        (use,) = key.models.values()
        yield name, use, ", ".join(filter(None, (state, _next(use))))
        return
    yield name, Use(), state
    for model, use in key.models.items():
        yield f"  {escape(model)}", use, _state(use)


def _key_state(key: KeyReport) -> str:
    if key.state == "dead":
        probe = f"tried again in {duration(key.probe_s)}" if key.probe_s else "about to be tried"
        since = duration(clock.now() - key.dead_since)
        return f"dead for {since} ({escape(key.why)}), {probe}"
    if key.state == "resting":
        return f"resting for {duration(key.rests_s)}"
    return "ok"


def _state(use: Use) -> str:
    facts = []
    if use.rests_s:
        facts.append(f"[yellow]resting for {duration(use.rests_s)}[/]")
    if use.held:
        facts.append(f"{use.held} waiting, oldest {duration(use.held_s)}")
    return ", ".join(filter(None, (*facts, _next(use))))


def _health(deployment: DeploymentReport) -> str:
    facts = [_state(deployment.use)]
    if deployment.state == "open":
        trips = deployment.trips
        again = f", {trips} trial{'s' * (trips > 1)} failed" if trips else ""
        facts.append(f"[red]cut off{again}; tried in {duration(deployment.open_s)}[/]")
    elif deployment.state == "trial":
        facts.append("[yellow]on trial[/]")
    elif deployment.failures:
        facts.append(f"[yellow]{deployment.failures} failed in a row[/]")
    if deployment.first_token_s is not None and deployment.first_token_p95_s is not None:
        first, late = deployment.first_token_s, deployment.first_token_p95_s
        facts.append(f"first token {duration(first)}, 95 of 100 in {duration(late)}")
    return ", ".join(filter(None, facts))


def _next(use: Use) -> str:
    if 0 in use.limits.values():
        return "no access"
    if use.rests_s or use.wait_s == 0:
        return ""
    return "full" if use.wait_s is None else f"next in {duration(use.wait_s)}"


def _rooms(rooms: Iterable[RoomReport]) -> Table:
    table = plain_table(
        "waiting room", "high", "default", "low", "oldest", "one each", left=("waiting room",)
    )
    for room in rooms:
        names = room.models or [f"rest of {one}" for one in room.deployments[:1]]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        pace = duration(room.pace_s) if room.pace_s else ""
        counts = [str(count) for count in room.waiting.values()]
        table.add_row(escape(shown), *counts, duration(room.oldest_s), pace)
    return table


def _table(what: str, rows: list[Row]) -> Table:
    """Lay out uses; dimensions in which there is nothing get no column."""
    shown = [
        name
        for name in _HEADINGS
        if any(use.used.get(name) or _has(use, name) for _, use, _ in rows)
    ]
    table = plain_table(what, *(_HEADINGS[name] for name in shown), "state", left=(what, "state"))
    table.columns[-1].no_wrap = False
    for name, use, state in rows:
        table.add_row(name, *(_cell(use, dimension) for dimension in shown), state)
    return table


def _has(use: Use, dimension: str) -> bool:
    return use.limit(dimension) is not None


def _cell(use: Use, dimension: str) -> str:
    used, limit = use.used.get(dimension), use.limit(dimension)
    if limit is None:
        return amount(used) if used else ""
    found = "~" if limit != use.limits.get(dimension) else ""
    span = f" in {use.window_s:g} s" if dimension == "window" else ""
    return f"{amount(used)}/{found}{amount(limit)}{span}" if used is not None else f"–/{limit}"


def amount(count: int | None) -> str:
    """Write a count in few characters."""
    if count is None:
        return ""
    if count < 10_000:
        return str(count)
    if count < 1_000_000:
        return f"{count / 1000:.4g}k"
    return f"{count / 1_000_000:.4g}M"
