"""Deployments: one for each provider, model and set of limits that the models list."""

from collections.abc import Iterator, Mapping

import msgspec

from pipeline.settings.load import DeploymentSettings, Limits, ModelSettings, Price
from pipeline.settings.models import FACTS


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A model at a provider, with what limits the calls to it."""

    #: `provider/model`; where that is listed with other limits, too, `#2` … is added.
    id: str
    provider: str
    #: The name that the provider knows it by.
    model: str
    #: Its own limits, without the provider's.
    limits: Limits = Limits()
    price: Price | None = None
    #: Most tokens of prompt and answer together; none: unknown.
    context_tokens: int | None = None
    vision: bool | None = None
    tools: bool | None = None
    #: Length of its embeddings; none: unknown.
    vector_size: int | None = None


#: A model's deployments in their order, each with its weight among them.
Listed = Mapping[Deployment, int]


def listing(models: Mapping[str, ModelSettings]) -> dict[str, Listed]:
    """Make the deployments of each model.

    What several models list with the same limits is one deployment, so that these hold over all
    of them, whatever their weights; other limits make another one, with a number. What one
    listing says of a model at a provider, such as its price, holds for all of them.
    """
    known = _known(models)
    made: dict[tuple[str, Limits], Deployment] = {}
    times: dict[str, int] = {}
    for listed in _all(models):
        plain = _plain(listed)
        if (plain, listed.limits) in made:
            continue
        times[plain] = times.get(plain, 0) + 1
        unique = plain if times[plain] == 1 else f"{plain}#{times[plain]}"
        whole = msgspec.structs.replace(listed, **known[plain])
        made[plain, listed.limits] = deployed(unique, whole)
    return {name: _weighed(model, made) for name, model in models.items()}


def deployed(deployment_id: str, listed: DeploymentSettings) -> Deployment:
    """Make a deployment of what a model lists."""
    return Deployment(
        id=deployment_id,
        provider=listed.provider,
        model=listed.model,
        limits=listed.limits,
        price=listed.price,
        context_tokens=listed.context_tokens,
        vision=listed.vision,
        tools=listed.tools,
        vector_size=listed.vector_size,
    )


def _weighed(model: ModelSettings, made: Mapping[tuple[str, Limits], Deployment]) -> Listed:
    weights: dict[Deployment, int] = {}
    for listed in model.deployments:
        weights.setdefault(made[_plain(listed), listed.limits], listed.weight)
    return weights


def _known(models: Mapping[str, ModelSettings]) -> dict[str, dict[str, object]]:
    """Collect what is said of each model at a provider; the settings' check bars contradictions."""
    known: dict[str, dict[str, object]] = {}
    for listed in _all(models):
        facts = known.setdefault(_plain(listed), {})
        for name in FACTS:
            if getattr(listed, name) is not None:
                facts.setdefault(name, getattr(listed, name))
    return known


def _all(models: Mapping[str, ModelSettings]) -> Iterator[DeploymentSettings]:
    for model in models.values():
        yield from model.deployments


def _plain(listed: DeploymentSettings) -> str:
    return f"{listed.provider}/{listed.model}"
