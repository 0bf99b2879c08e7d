"""Whether the parts that were started work yet: asks the gateway, or looks for workers in Redis."""

import asyncio
import http.client
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import msgspec
import redis

from pipeline import clock
from pipeline.cli.living import alive
from pipeline.names import Names
from pipeline.streams.connection import sync_client

#: How long a start may take before it counts as failed.
DEADLINE_S: Final = 60.0
_PAUSE_S: Final = 0.1
_ASK_TIMEOUT_S: Final = 2.0


class _Health(msgspec.Struct):
    warnings: list[str] = []


def gateway_state(url: str) -> str:
    """Ask a gateway for its health: empty when all is well, else what it says."""
    target = urlsplit(url)
    link = http.client.HTTPConnection(target.hostname or "", target.port, timeout=_ASK_TIMEOUT_S)
    try:
        link.request("GET", "/health/full")
        answer = link.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return "the gateway does not answer yet"
    finally:
        link.close()
    if answer.status == http.client.OK:
        return ""
    with suppress(msgspec.MsgspecError):
        warnings = msgspec.json.decode(body, type=_Health).warnings
        return f"the gateway says: {'; '.join(warnings) or answer.status}"
    return f"the gateway answers {answer.status}"


def workers_state(redis_url: str, names: Names, groups: set[int]) -> str:
    """Tell which workers, given by their process groups, do not show signs of life yet."""
    try:
        with sync_client(redis_url, name="sluice-cli") as client:
            there = {_group(worker.pid) for worker in alive(client, names)}
    except redis.RedisError as error:
        return f"Redis does not answer: {error}"
    missing = len(groups - there)
    return f"{missing} of {len(groups)} workers not up yet" if missing else ""


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


async def until_ready(
    ask: Callable[[], str], tell: Callable[[str], None], stop: Callable[[], bool]
) -> str:
    """Ask until the answer is empty; gives the last answer when the time is over.

    `tell` hears each new answer; `stop` tells that waiting has lost its point.
    """
    deadline = clock.monotonic() + DEADLINE_S
    said = ""
    while not stop():
        state = await asyncio.to_thread(ask)
        if not state:
            return ""
        if state != said:
            said = state
            tell(state)
        if clock.monotonic() > deadline:
            return said
        await asyncio.sleep(_PAUSE_S)
    return "stopped"
