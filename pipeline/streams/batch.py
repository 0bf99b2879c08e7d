"""How much goes into one call of a script: bounded in number and in bytes."""

from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

#: Bytes of bodies or responses in one call at the most, a single larger one excepted; copying
#: as much holds Redis for about two milliseconds, measured.
MAX_BYTES: Final = 512 * 1024


def split(waiting: list[T], most: int, size: Callable[[T], int]) -> tuple[list[T], list[T]]:
    """Split what waits into the next batch, never empty, and the rest."""
    total = 0
    for number, item in enumerate(waiting[:most]):
        total += size(item)
        if total > MAX_BYTES and number:
            return waiting[:number], waiting[number:]
    return waiting[:most], waiting[most:]
