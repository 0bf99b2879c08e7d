"""The relations of models: their names, what stands in for them, and what their deployments are."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from pipeline.settings.decode import child, near
from pipeline.settings.models import FACTS, DeploymentSettings, ModelSettings
from pipeline.settings.named import Named
from pipeline.settings.schema import Sections

_SPECIAL: Final = ("context_fallbacks", "policy_fallbacks")
_FALLBACKS: Final = ("fallbacks", *_SPECIAL)


def _deployments(settings: Sections, names: Named) -> Iterator[str]:
    for path, _, deployment in _listed(settings):
        wanted = deployment.provider
        if wanted not in names.providers:
            yield (
                f"{path}.provider: no provider is named "
                f"{names.quote(wanted)}{near(wanted, names.providers)}"
            )


def _listed(settings: Sections) -> Iterator[tuple[str, str, DeploymentSettings]]:
    """List all deployments with their paths and the names of their models."""
    for name, model in settings.models.items():
        for index, deployment in enumerate(model.deployments):
            yield f"{child('models', name)}.deployments[{index}]", name, deployment


def _emptiness(settings: Sections, _: Named) -> Iterator[str]:
    for name, model in settings.models.items():
        if not (model.deployments or model.fallbacks):
            yield f"{child('models', name)}.deployments: expected at least one, got none"


def _aliases(settings: Sections, names: Named) -> Iterator[str]:
    owners: dict[str, str] = {}
    for name, model in settings.models.items():
        for index, alias in enumerate(model.aliases):
            path = f"{child('models', name)}.aliases[{index}]"
            if alias in names.models:
                whose = "its own name" if alias == name else "the name of a model"
                yield f"{path}: {names.quote(alias)} is {whose}; an alias is another name"
            elif alias in owners:
                owner = "listed twice" if owners[alias] == name else f"{owners[alias]}'s too"
                yield f"{path}: {names.quote(alias)} is {owner}; it can stand for one model only"
            owners.setdefault(alias, name)


def _fallbacks(settings: Sections, names: Named) -> Iterator[str]:
    aliases = _by_alias(settings)
    known = names.models | aliases.keys()
    for name, field, index, asked in _stand_ins(settings):
        path = f"{child('models', name)}.{field}[{index}]"
        if asked not in known:
            yield f"{path}: no model is named {names.quote(asked)}{near(asked, known)}"
        elif field in _SPECIAL and aliases.get(asked, asked) == name:
            yield f"{path}: {names.quote(asked)} is the model itself; name another one"
    yield from _circles(settings.models, aliases)


def _stand_ins(settings: Sections) -> Iterator[tuple[str, str, int, str]]:
    """List all fallbacks: whose, of what kind, in what place, and which."""
    for name, model in settings.models.items():
        for field in _FALLBACKS:
            for index, asked in enumerate(getattr(model, field)):
                yield name, field, index, asked


def _circles(models: Mapping[str, ModelSettings], aliases: Mapping[str, str]) -> Iterator[str]:
    """Find circles of `fallbacks`; those of the special ones end by themselves."""
    circles: set[frozenset[str]] = set()
    for name in models:
        circle = _circle(models, aliases, name)
        if circle and frozenset(circle) not in circles:
            circles.add(frozenset(circle))
            yield f"{child('models', name)}.fallbacks: {' → '.join(circle)} goes in a circle"


def _circle(
    models: Mapping[str, ModelSettings], aliases: Mapping[str, str], start: str
) -> list[str]:
    """Find the shortest way from a model back to itself, or nothing."""
    ways = deque([[start]])
    seen: set[str] = set()
    while ways:
        way = ways.popleft()
        for asked in models[way[-1]].fallbacks if way[-1] in models else ():
            following = aliases.get(asked, asked)
            if following == start:
                return [*way, start]
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return []


def _facts(settings: Sections, names: Named) -> Iterator[str]:
    """Find what is said of a model at a provider in two ways."""
    told: dict[tuple[str, str, str], tuple[str, object]] = {}
    for path, _, deployment in _listed(settings):
        for fact in FACTS:
            value = getattr(deployment, fact)
            if value is None:
                continue
            key = deployment.provider, deployment.model, fact
            before, said = told.setdefault(key, (path, value))
            if said != value:
                what = names.quote(f"{deployment.provider}/{deployment.model}")
                yield (
                    f"{path}.{fact}: {before}.{fact} says otherwise of the same {what}; "
                    "say it once, or the same twice"
                )


def _weights(settings: Sections, _: Named) -> Iterator[str]:
    seen: dict[object, tuple[str, int]] = {}
    for path, name, one in _listed(settings):
        key = name, one.provider, one.model, one.limits
        before, weight = seen.setdefault(key, (path, one.weight))
        if weight != one.weight:
            yield (
                f"{path}.weight: {before} lists the same deployment with the weight {weight}; "
                "list it once"
            )


def _vector_sizes(settings: Sections, names: Named) -> Iterator[str]:
    """Find names whose embeddings could not be compared with each other."""
    aliases, told = _by_alias(settings), set[str]()
    for name in settings.models:
        first = ("", 0)
        for path, size in _sizes(settings.models, aliases, name):
            first = first if first[1] else (path, size)
            if size != first[1] and path not in told:
                told.add(path)
                yield (
                    f"{path}.vector_size: {names.quote(name)} could answer with these {size} "
                    f"numbers or with {first[1]}, as {first[0]} has it, which cannot be compared; "
                    "give them names without fallbacks between them"
                )


def _sizes(
    models: Mapping[str, ModelSettings], aliases: Mapping[str, str], start: str
) -> Iterator[tuple[str, int]]:
    """List the lengths of all embeddings that a name may be answered with, with their paths."""
    waiting, seen = deque([start]), {start}
    while waiting:
        name = waiting.popleft()
        model = models[name]
        for index, one in enumerate(model.deployments):
            if one.vector_size:
                yield f"{child('models', name)}.deployments[{index}]", one.vector_size
        asked = [one for field in _FALLBACKS for one in getattr(model, field)]
        following = {aliases.get(one, one): None for one in asked}
        new = [one for one in following if one in models and one not in seen]
        seen.update(new)
        waiting.extend(new)


def _by_alias(settings: Sections) -> dict[str, str]:
    models = settings.models
    aliases = {alias: name for name, model in models.items() for alias in model.aliases}
    return {alias: name for alias, name in aliases.items() if alias not in models}


MODEL_CHECKS: Final[tuple[Callable[[Sections, Named], Iterator[str]], ...]] = (
    _deployments,
    _emptiness,
    _aliases,
    _fallbacks,
    _facts,
    _weights,
    _vector_sizes,
)
