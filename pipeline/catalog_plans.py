"""Plans: the deployments of a model and of those that stand in for it, ranked as they are tried."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, get_args

from pipeline.catalog_deployments import Listed
from pipeline.event import Candidate
from pipeline.settings.load import ModelSettings

#: For what kind of failure a model has fallbacks of their own.
Special = Literal["context", "policy"]
SPECIAL: Final[tuple[Special, ...]] = get_args(Special)

#: Strategies that need not be told: each has its rank, or the least busy one is taken anyway.
_UNTOLD: Final = frozenset({"order", "least_busy"})

_Following = Callable[[ModelSettings], Iterable[str]]


class Planner:
    """Makes the plans of one configuration; fallbacks may be named by their aliases."""

    def __init__(
        self,
        models: Mapping[str, ModelSettings],
        aliases: Mapping[str, str],
        listing: Mapping[str, Listed],
    ) -> None:
        self._models = models
        self._aliases = aliases
        self._listing = listing

    def plan(self, name: str) -> tuple[Candidate, ...]:
        """Plan a model's deployments, then its fallbacks', breadth first and without repeats."""
        return self._ranked(self._walk([name], set(), lambda model: model.fallbacks))

    def special(self, name: str, kind: Special) -> tuple[Candidate, ...]:
        """Plan what is tried in place of a model after a failure of a kind; empty: nothing is.

        What stands in has fallbacks of its own: those of the same kind, then the others. The
        model itself is none of them: where they lead back to it, that way ends.
        """
        field: Final = f"{kind}_fallbacks"

        def following(model: ModelSettings) -> Sequence[str]:
            return (*getattr(model, field), *model.fallbacks)

        return self._ranked(self._walk(getattr(self._models[name], field), {name}, following))

    def _walk(self, first: Iterable[str], seen: set[str], following: _Following) -> Iterator[str]:
        waiting = deque(first)
        while waiting:
            asked = waiting.popleft()
            name = self._aliases.get(asked, asked)
            if name not in seen:
                seen.add(name)
                yield name
                waiting.extend(following(self._models[name]))

    def _ranked(self, names: Iterable[str]) -> tuple[Candidate, ...]:
        """Rank the deployments of models; those of `order` one by one, the others as equals."""
        ranked: dict[str, Candidate] = {}
        rank = -1
        for name in names:
            strategy = self._models[name].strategy
            for index, (deployment, weight) in enumerate(self._listing[name].items()):
                rank += strategy == "order" or index == 0
                candidate = Candidate(
                    deployment=deployment.id,
                    rank=rank,
                    strategy="" if strategy in _UNTOLD else strategy,
                    weight=weight if strategy == "weighted" else 1,
                )
                ranked.setdefault(deployment.id, candidate)
        return tuple(ranked.values())
