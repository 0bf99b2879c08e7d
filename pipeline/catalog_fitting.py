"""Which candidates can serve a request: what it needs beside what its deployments can do.

What is not known of a deployment is not judged by.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import msgspec

from pipeline.catalog_deployments import Deployment
from pipeline.event import Candidate, Event, Need, Operation

#: So many times too high the estimate of a prompt may be: text that is escaped, indented or in
#: another script has more bytes to a token than it is taken for. Who would be too small even then
#: is left out; where it was wrong all the same, the provider refuses and `context_fallbacks` help.
MARGIN: Final = 1.5

#: Characters of a text that tells who was left out.
_MOST_TOLD: Final = 500

#: What a request has that needs it.
_CALLED: Final = {"vision": "images", "tools": "tools"}


class Wanted(msgspec.Struct, frozen=True):
    """What a deployment has to be able to do; how much it has to take is judged apart."""

    operation: Operation
    needs: frozenset[Need]

    def __str__(self) -> str:
        served = "chat completions" if self.operation == "chat" else self.operation
        needed = " and ".join(_CALLED[need] for need in sorted(self.needs))
        return f"{served} with {needed}" if needed else served


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """The candidates that can serve a request, in their order, and why the others cannot."""

    plan: tuple[Candidate, ...]
    #: `deployment: why; …`, bounded; empty: none was left out.
    left_out: str = ""


class Fitting:
    """One plan, and what is left of it for each kind of request; the same kind gets the same."""

    def __init__(self, plan: tuple[Candidate, ...], deployments: Sequence[Deployment]) -> None:
        self.plan = plan
        self._pairs = tuple(zip(plan, deployments, strict=True))
        self._sizes = sorted({one.context_tokens for one in deployments if one.context_tokens})
        self._makes_vectors = any(one.vector_size for one in deployments)
        self._fits: dict[tuple[Wanted, int], Fit] = {}

    def fit(self, event: Event) -> Fit:
        """Leave out who cannot serve a request.

        All are left out for what they cannot do, but never for their context alone: then the
        largest stay.
        """
        tokens = event.prompt_tokens / MARGIN + event.output_tokens
        wanted = wanted_of(event)
        # So many sizes are too small: requests between two sizes are alike.
        key = wanted, bisect_left(self._sizes, tokens)
        found = self._fits.get(key)
        if found is None:
            found = self._fits[key] = self._fit(*key)
        return found

    def can(self, wanted: Wanted) -> bool:
        """Tell whether any of the candidates can serve a request of a kind."""
        return any(not self._why_not(one, wanted) for _, one in self._pairs)

    def _fit(self, wanted: Wanted, too_small: int) -> Fit:
        left_out = {one.id: why for _, one in self._pairs if (why := self._why_not(one, wanted))}
        able = [one for _, one in self._pairs if one.id not in left_out]
        least = self._least_context(able, too_small)
        for one in able:
            if one.context_tokens and one.context_tokens < least:
                left_out[one.id] = f"a context of {one.context_tokens} tokens"
        return Fit(
            plan=tuple(candidate for candidate, one in self._pairs if one.id not in left_out),
            left_out=_told([f"{name}: {why}" for name, why in left_out.items()]),
        )

    def _least_context(self, able: Sequence[Deployment], too_small: int) -> int:
        """Give the least context that is taken: a larger one than those too small, or the most."""
        if not too_small:
            return 0
        sizes = [one.context_tokens for one in able]
        largest = max((size for size in sizes if size), default=0)
        least = self._sizes[too_small - 1] + 1
        return least if None in sizes else min(least, largest)

    def _why_not(self, one: Deployment, wanted: Wanted) -> str:
        if wanted.operation == "chat" and one.vector_size:
            return "makes embeddings"
        if wanted.operation == "embeddings" and self._makes_vectors and not one.vector_size:
            return "no vector_size"
        if "vision" in wanted.needs and one.vision is False:
            return "no vision"
        if "tools" in wanted.needs and one.tools is False:
            return "no tools"
        return ""


def wanted_of(event: Event) -> Wanted:
    """Tell what a request's deployment has to be able to do."""
    return Wanted(event.operation, frozenset(event.needs))


def _told(parts: Sequence[str]) -> str:
    """Join as many as there is room for, and count the rest."""
    ends = accumulate(len(part) + 2 for part in parts)
    shown = max(1, sum(end <= _MOST_TOLD for end in ends))
    more = len(parts) - shown
    return "; ".join([*parts[:shown], *([f"and {more} more"] if more > 0 else [])])
