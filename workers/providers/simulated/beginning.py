"""The beginning of a simulated answer that was cut: whoever is shown it says what is left.

So the parts of an answer, put together, are the answer that was not cut.
"""

from typing import Final

from workers.providers.simulated.faults import Behaviour

START: Final = "Simulated answer, no model was asked."
CHARACTERS_PER_TOKEN: Final = 4


def own(text: str, fixed: str = "") -> str:
    """Give a beginning that is an answer's own, or that of what it has to say; else nothing."""
    start = fixed or START
    return text if start.startswith(text[: len(start)]) else ""


def width_of(behaviour: Behaviour) -> int:
    """Tell how many characters a token has."""
    return behaviour.delta_bytes or CHARACTERS_PER_TOKEN


def raised(most: int | None, beginning: str, behaviour: Behaviour) -> int | None:
    """Count what was said before to the most that the rest may have."""
    return None if most is None else most + -(-len(beginning) // width_of(behaviour))


def rest(text: str, beginning: str, behaviour: Behaviour) -> tuple[str, int]:
    """Give what an answer says beyond its beginning, and its tokens."""
    left = text.removeprefix(beginning)
    return left, -(-len(left) // width_of(behaviour))
