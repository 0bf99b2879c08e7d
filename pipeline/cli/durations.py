"""Lengths of time as people read them."""


def duration(seconds: float) -> str:
    """Write a length of time in the unit that suits it."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 120:
        return f"{seconds:.2f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def rung_name(seconds: int) -> str:
    """Write the length of a rung in the largest unit in which it is whole."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
