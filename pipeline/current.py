"""The configuration in force in a process, which another one may take the place of at any time.

What is under way keeps the one that it began with; whoever reads through here at each use goes by
the newest.
"""

import asyncio
from collections.abc import Callable

import msgspec

from pipeline.catalog import Catalog
from pipeline.settings.digest import digest
from pipeline.settings.fixed import keeping, live, needs_restart
from pipeline.settings.load import Settings, load

#: Loads the settings that a process was started with again. Raises `SettingsError`.
Read = Callable[[], Settings]


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Settings, and what follows from them."""

    settings: Settings
    catalog: Catalog
    #: Changes with whatever a running process takes over.
    version: str


def configure(settings: Settings) -> Configuration:
    """Build the configuration of settings that `load` has checked."""
    return Configuration(
        settings=settings, catalog=Catalog(settings), version=digest(live(settings))
    )


#: Is told of each configuration that comes into force.
Follower = Callable[[Configuration], None]


class Current:
    """The configuration in force in this process."""

    def __init__(self, settings: Settings, read: Read = load) -> None:
        self.now = configure(settings)
        self._started_with = settings
        self._read = read
        self._followers: list[Follower] = []

    @property
    def settings(self) -> Settings:
        """Give the settings in force."""
        return self.now.settings

    @property
    def catalog(self) -> Catalog:
        """Give the catalog in force."""
        return self.now.catalog

    def follow(self, follower: Follower) -> None:
        """Tell a follower the configuration, now and whenever it is replaced."""
        self._followers.append(follower)
        follower(self.now)

    def replace(self, configuration: Configuration) -> None:
        """Put another configuration in force, with all that follows it, in one step of the loop."""
        self.now = configuration
        for follower in self._followers:
            follower(configuration)

    async def reload(self) -> list[str]:
        """Read file and environment again and put them in force; name what needs a restart.

        Raises `SettingsError` with every fault, and leaves the old ones in force.
        """
        configuration, restart = await asyncio.to_thread(self._read_again)
        if configuration.version != self.now.version:
            self.replace(configuration)
        return restart

    def _read_again(self) -> tuple[Configuration, list[str]]:
        wanted = self._read()
        configuration = configure(keeping(self._started_with, wanted))
        return configuration, needs_restart(self._started_with, wanted)
