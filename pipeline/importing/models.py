"""Models of ours, made of what serves them: strategies, weights and their deployments."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import reduce
from math import gcd
from typing import Final

import msgspec

from pipeline.importing.targets import Served
from pipeline.importing.told import Report
from pipeline.settings.file import Tree

#: Weights are written with at most so many steps between the least and the greatest.
_STEPS: Final = 1000


def agreed(served: Sequence[Served], report: Report) -> list[Served]:
    """Say the same of one model at one provider everywhere: what is said first, of each fact."""
    said: dict[tuple[str, str], Tree] = {}
    for one in served:
        facts = said.setdefault((one.provider, one.target.model), {})
        for key, value in one.target.details.items():
            if facts.setdefault(key, value) != value:
                why = f"{key}: another was said before of the same model there, and holds"
                report.lost(one.target.path, value, why, "say the same, or leave it out")
    return [
        msgspec.structs.replace(
            one,
            target=msgspec.structs.replace(
                one.target, details=said[one.provider, one.target.model]
            ),
        )
        for one in served
    ]


def deployment(served: Served, weight: int = 1) -> Tree:
    """Write one deployment of a model."""
    target = served.target
    made: Tree = {"provider": served.provider, "model": target.model}
    if weight != 1:
        made["weight"] = weight
    if target.limits and not served.is_limited_above:
        made["limits"] = dict(target.limits)
    return made | target.details


def model(served: Sequence[Served], strategy: str, report: Report) -> Tree:
    """Write a model with its deployments: in their order if they have one, else by strategy."""
    if any(one.target.order is not None for one in served):
        return {"strategy": "order", "deployments": _in_order(served, report)}
    weights = _weights(served, report) if strategy == "weighted" else [1] * len(served)
    listed = _unique(served, weights, report)
    return (
        {"strategy": strategy, "deployments": listed}
        if len(listed) > 1
        else {"deployments": listed}
    )


def _in_order(served: Sequence[Served], report: Report) -> list[Tree]:
    """Rank deployments as LiteLLM does: those with the least order first, without one last."""
    last = float("inf")
    orders = [last if one.target.order is None else one.target.order for one in served]
    if len(set(orders)) < len(orders):
        report.differs(
            served[0].target.path,
            None,
            f"deployments of {served[0].target.name} share an order; they are tried one by one, "
            "as they are listed",
            "put those of one order in a model of their own with a strategy, and fall back to it",
        )
    ranked = sorted(zip(orders, range(len(served)), served, strict=True), key=lambda one: one[:2])
    return _unique([one for _, _, one in ranked], [1] * len(ranked), report)


def _unique(served: Iterable[Served], weights: Iterable[int], report: Report) -> list[Tree]:
    """List deployments, each once: the same one again only weighs more."""
    listed: list[Tree] = []
    total: list[int] = []
    for one, weight in zip(served, weights, strict=True):
        plain = deployment(one)
        if plain in listed:
            total[listed.index(plain)] += weight
            why = "the same deployment with the same key is listed before; its limits hold once"
            report.differs(one.target.path, None, why)
        else:
            listed.append(plain)
            total.append(weight)
    shared = reduce(gcd, total, 0) or 1
    return [_weighing(plain, weight // shared) for plain, weight in zip(listed, total, strict=True)]


def _weighing(plain: Tree, weight: int) -> Tree:
    if weight == 1:
        return plain
    first = {key: plain[key] for key in ("provider", "model")}
    return {**first, "weight": weight, **plain}


def _weights(served: Sequence[Served], report: Report) -> list[int]:
    """Weigh deployments as LiteLLM does: by `weight`, else by rpm, else by tpm, else alike."""
    for given in (_given(served, report), _limits(served, "rpm"), _limits(served, "tpm")):
        if given:
            each = [weight * one.keys for weight, one in zip(given, served, strict=True)]
            return _whole(each)
    return _whole([one.keys for one in served])


def _given(served: Sequence[Served], report: Report) -> list[int | float]:
    weights = [one.target.weight for one in served]
    if all(weight is None for weight in weights):
        return []
    for one in served:
        if not one.target.weight:
            path = f"{one.target.path}.litellm_params.weight"
            why = "without a weight beside others that have one it gets no requests"
            report.differs(path, one.target.weight, why, "with us it gets the least share")
    least = min(weight for weight in weights if weight) if any(weights) else 1
    return [weight or least / _STEPS for weight in weights]


def _limits(served: Sequence[Served], dimension: str) -> list[int | float]:
    found = [one.target.limits.get(dimension) for one in served]
    numbers = [value for value in found if isinstance(value, int | float)]
    return numbers if len(numbers) == len(served) else []


def _whole(weights: Sequence[int | float]) -> list[int]:
    """Write weights as the smallest whole numbers in the same proportions."""
    exact = [
        Fraction(weight).limit_denominator(_STEPS) or Fraction(1, _STEPS) for weight in weights
    ]
    scale = reduce(
        lambda one, other: one * other // gcd(one, other), (x.denominator for x in exact)
    )
    whole = [int(weight * scale) for weight in exact]
    shared = reduce(gcd, whole)
    return [weight // shared for weight in whole]
