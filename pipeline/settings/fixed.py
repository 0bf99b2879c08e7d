"""What of the settings a running process cannot change: only a restart brings it."""

from typing import Final

import msgspec

from pipeline.errors import SettingsError
from pipeline.settings.check import is_loopback
from pipeline.settings.decode import child
from pipeline.settings.schema import GatewaySettings, Sections, Settings

#: Sections that connections, sockets and processes were made by.
_SECTIONS: Final = ("redis", "workers", "simulate", "durability", "telemetry")
#: Keys of the gateway's that its socket and its processes were made by.
_GATEWAY: Final = ("host", "port", "processes", "max_body_bytes", "open")


def live(settings: Settings) -> dict[str, object]:
    """Give what a running process takes over, by section."""
    sections = {name: getattr(settings, name) for name in Sections.__struct_fields__}
    kept = {name: section for name, section in sections.items() if name not in _SECTIONS}
    keys = [key for key in GatewaySettings.__struct_fields__ if key not in _GATEWAY]
    return {**kept, "gateway": {key: getattr(settings.gateway, key) for key in keys}}


def fixed(settings: Settings) -> dict[str, object]:
    """Give what only a restart changes, by path."""
    found = {child("gateway", key): getattr(settings.gateway, key) for key in _GATEWAY}
    for name in _SECTIONS:
        section: msgspec.Struct = getattr(settings, name)
        found |= {child(name, key): getattr(section, key) for key in section.__struct_fields__}
    return found


def needs_restart(running: Settings, wanted: Settings) -> list[str]:
    """Name the paths at which settings differ that only a restart changes."""
    new = fixed(wanted)
    return [path for path, value in fixed(running).items() if value != new[path]]


def keeping(running: Settings, wanted: Settings) -> Settings:
    """Give the wanted settings with all that only a restart changes as it runs.

    Raises `SettingsError` where that would let in whom neither of the two does.
    """
    keys = {key: getattr(running.gateway, key) for key in _GATEWAY}
    sections = {name: getattr(running, name) for name in _SECTIONS}
    gateway = msgspec.structs.replace(wanted.gateway, **keys)
    if not (wanted.tenants or gateway.open or is_loopback(gateway.host)):
        told = (
            f"tenants: without any, others would be let in on gateway.host {gateway.host}, "
            "which takes a restart to change"
        )
        raise SettingsError([told], wanted.source)
    return msgspec.structs.replace(wanted, gateway=gateway, **sections)
