"""Where a command works: its settings, the names in Redis, and which Redis that is.

`sluice up` with a Redis of its own leaves its addresses in `./.sluice/up.json`, so that the
other commands find it from the same folder.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import redis

from pipeline.cli.options import Where
from pipeline.errors import RedisUnavailable, SettingsError
from pipeline.names import Names
from pipeline.settings.load import Settings, load
from pipeline.settings.secret import RedisUrl
from pipeline.streams.connection import sync_client

#: Where `sluice up` keeps its Redis and the file by which it is found.
HOME: Final = Path(".sluice")

_UP: Final = "up.json"


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """What a running `sluice up` tells the other commands."""

    pid: int
    redis_url: str

    def write(self, home: Path) -> None:
        """Leave the facts in the folder, whole or not at all."""
        draft = home / f"{_UP}.new"
        draft.write_bytes(msgspec.json.encode(self))
        draft.replace(home / _UP)


def read_up(home: Path = HOME) -> Up | None:
    """Find the `sluice up` that runs in this folder."""
    with suppress(FileNotFoundError, msgspec.MsgspecError, ProcessLookupError):
        up = msgspec.json.decode((home / _UP).read_bytes(), type=Up)
        with suppress(PermissionError):
            os.kill(up.pid, 0)
        return up
    return None


def forget_up(home: Path) -> None:
    """Take the facts away again."""
    (home / _UP).unlink(missing_ok=True)


class Place(msgspec.Struct, frozen=True):
    """Settings, names and Redis's address."""

    settings: Settings
    names: Names
    #: With its password: not for printing.
    redis_url: str

    @property
    def shown_url(self) -> str:
        """Give Redis's address without its password."""
        return shown(self.redis_url)

    def where(self, where: Where) -> Where:
        """Give the same place to commands that are to find it later."""
        return msgspec.structs.replace(where, redis_url=self.redis_url)

    @contextmanager
    def client(self, *, block_s: float = 0.0) -> Iterator[redis.Redis]:
        """Open a client; any error of Redis within becomes RedisUnavailable, with the address."""
        with _opened(self.redis_url, block_s) as client:
            yield client


@contextmanager
def _opened(redis_url: str, block_s: float) -> Iterator[redis.Redis]:
    try:
        made = sync_client(redis_url, block_s=block_s, name="sluice-cli")
    except ValueError as error:
        raise SettingsError([f"redis.url: {error}"], "the configuration") from None
    try:
        with made as client:
            client.ping()
            yield client
    except redis.RedisError as error:
        raise RedisUnavailable(f"Redis at {shown(redis_url)}: {error}") from None


def check_redis(redis_url: str) -> None:
    """Make sure that Redis answers. Raises RedisUnavailable, which names its address."""
    with _opened(redis_url, 0.0):
        pass


def shown(redis_url: str) -> str:
    """Give an address of Redis without its password."""
    return str(RedisUrl(redis_url))


def load_settings(where: Where) -> Settings:
    """Load the settings that hold for a command. Raises SettingsError with every fault."""
    return load(where.config, overrides=where.overrides())


def find(where: Where) -> Place:
    """Load the settings and tell which Redis a command works on."""
    settings = load_settings(where)
    up = None if settings.redis.is_set else read_up()
    return Place(
        settings=settings,
        names=Names(settings.redis.namespace),
        redis_url=up.redis_url if up else settings.redis.address,
    )
