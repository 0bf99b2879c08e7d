"""`sluice reload`: puts the configuration file in force, in every part that runs."""

import socket
from contextlib import suppress

import msgspec
import redis

from pipeline.cli import looking
from pipeline.cli.entries import read_hash
from pipeline.cli.options import Where
from pipeline.cli.place import Place, find
from pipeline.cli.reload_view import Reloaded, changed_limits, lines
from pipeline.cli.taking_over import Handover, Part
from pipeline.current import configure
from pipeline.limits.caps import VERSION, caps_key, published
from pipeline.limits.fingerprint import after_reload, differences, fingerprints
from pipeline.limits.runner import PUBLISH
from pipeline.settings.load import Settings

_CONNECT_S = 1.0


def run(where: Where, *, dry_run: bool, as_json: bool) -> int:
    """Reload and print what became of it; gives the exit code."""
    reloaded = reload(where, dry_run=dry_run)
    if as_json:
        print(msgspec.json.encode(reloaded).decode())
    else:
        print("\n".join(lines(reloaded)))
    return 0 if reloaded.is_complete else 1


def reload(where: Where, *, dry_run: bool = False) -> Reloaded:
    """Check the file whole, then have every part take it over.

    Raises `SettingsError` with every fault, and has then changed nothing.
    """
    spot = find(where)
    with spot.client() as client:
        now = looking.follow_clock(client, spot.names)
        return _Reload(client, spot).run(now, dry_run=dry_run)


class _Reload:
    """One reload, from what holds to what is to hold."""

    def __init__(self, client: redis.Redis, spot: Place) -> None:
        self._client = client
        self._spot = spot
        self._configuration = configure(spot.settings)
        catalog = self._configuration.catalog
        self._before = read_hash(client, caps_key(spot.names))
        self._after = published(spot.settings, catalog)
        self._prints = fingerprints(spot.settings, catalog)

    def run(self, now: float, *, dry_run: bool) -> Reloaded:
        known = self._known()
        parts = [] if dry_run else self._carry_out(known, now)
        differ = None if known is None else differences(known, self._prints)
        restart = {path for part in parts for path in part.restart}
        settings = self._spot.settings
        return Reloaded(
            source=settings.source,
            version=self._configuration.version,
            is_dry=dry_run,
            limits=changed_limits(self._before, self._after),
            differences=differ,
            needs_restart=sorted(restart | set(differ.restart if differ else ())),
            parts=parts,
            warnings=_warnings(settings),
        )

    def _known(self) -> dict[str, str] | None:
        packed = self._before.get(VERSION)
        return msgspec.msgpack.decode(packed, type=dict[str, str]) if packed else None

    def _carry_out(self, known: dict[str, str] | None, now: float) -> list[Part]:
        names, settings = self._spot.names, self._spot.settings
        if known is not None:
            prints = after_reload(known, self._prints)
            self._after[VERSION] = msgspec.msgpack.encode(prints)
        # Limits of what is taken out go on to hold while anyone may still go by it.
        self._publish({**self._before, **self._after})
        version, scan_s = self._configuration.version, settings.workers.scan_s
        parts = Handover(self._client, names, version, scan_s).run(now)
        if all(part.took_over for part in parts):
            self._publish(self._after)
        return parts

    def _publish(self, fields: dict[str, bytes]) -> None:
        names = self._spot.names
        arguments = [part for pair in fields.items() for part in pair]
        self._client.eval(PUBLISH.text, 1, names.limits, *arguments)
        looking.admit(self._client, names, "alarm")


def _warnings(settings: Settings) -> list[str]:
    place = settings.simulate
    if not settings.needs_simulator or _listens(place.host, place.port):
        return []
    return [
        f"a provider is simulated, and nothing listens on {place.host}:{place.port}: restart "
        "`sluice up`, which starts the simulated provider, or run `sluice simulate`"
    ]


def _listens(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), _CONNECT_S):
        return True
    return False
