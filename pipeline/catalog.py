"""The catalog: which deployments may serve a model, in the order in which they are to be tried.

It is built once from the settings and never changes; asking it costs a look in a dictionary.
Which of the candidates has capacity is the gate's to know.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final

import msgspec

from pipeline import clock
from pipeline.errors import ModelNotFound
from pipeline.event import Candidate
from pipeline.ladder import Ladder
from pipeline.settings.load import (
    ApiKey,
    DeploymentSettings,
    Limits,
    ModelSettings,
    Price,
    ProviderSettings,
    Secret,
    Settings,
)

#: Deployments of `provider/<any model>` that are remembered; clients choose those names.
_MAX_REMEMBERED: Final = 1024
_MAX_MODEL_CHARACTERS: Final = 256
#: How many names an error shows, and searches for a near one.
_SHOWN, _SEARCHED = 20, 500


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A model at a provider, with what limits the calls to it."""

    #: `provider/model`; where that is listed with different settings, `#2` … is added.
    id: str
    provider: str
    #: The name that the provider knows it by.
    model: str
    weight: int = 1
    #: Its own limits, without the provider's.
    limits: Limits = Limits()
    price: Price | None = None
    #: Most tokens of prompt and answer together; none: unknown.
    context_tokens: int | None = None
    vision: bool | None = None
    tools: bool | None = None
    #: Length of its embeddings; none: unknown.
    vector_size: int | None = None


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A model as `GET /v1/models` lists it."""

    id: str
    object: str = "model"
    #: Unix seconds.
    created: int
    owned_by: str


class Catalog:
    """The models, deployments and providers of one configuration."""

    def __init__(self, settings: Settings) -> None:
        """Build the catalog from settings that `load` has checked."""
        self._providers = dict(settings.providers)
        #: Changes whenever models or providers do; a hash that includes the keys.
        self.version = _version(settings)
        listing = _listing(settings)
        self._deployments = {one.id: one for ones in listing.values() for one in ones}
        self._plans = {name: _plan(name, settings.models, listing) for name in settings.models}
        self._remembered: dict[str, tuple[Deployment, tuple[Candidate, ...]]] = {}
        self._keys = {
            name: {key_id(name, key): key for key in provider.keys}
            for name, provider in settings.providers.items()
        }
        self._ladder = Ladder(rungs=settings.ladder)
        self._ladders = {name: _ladder(model, settings) for name, model in settings.models.items()}
        self._created = int(clock.now())

    def ladder(self, model: str) -> Ladder:
        """Give the ladder that a model's requests climb."""
        return self._ladders.get(model, self._ladder)

    def rungs(self) -> tuple[int, ...]:
        """List the rungs of all ladders, in seconds."""
        ladders = (self._ladder, *self._ladders.values())
        return tuple(sorted({rung for ladder in ladders for rung in ladder.rungs}))

    def candidates(self, model: str) -> tuple[Candidate, ...]:
        """Give a model's deployments, then its fallbacks', breadth first and without repeats.

        Raises `ModelNotFound`, which names what there is.
        """
        plan = self._plans.get(model)
        return self._any(model)[1] if plan is None else plan

    def deployment(self, deployment_id: str) -> Deployment:
        """Give a deployment by its id. Raises `ModelNotFound`."""
        found = self._deployments.get(deployment_id)
        return self._any(deployment_id)[0] if found is None else found

    def provider(self, name: str) -> ProviderSettings:
        """Give a provider's settings. Raises `ModelNotFound`."""
        found = self._providers.get(name)
        if found is None:
            raise ModelNotFound(f"No provider is named `{name}` in this configuration.")
        return found

    def deployments(self) -> tuple[Deployment, ...]:
        """List the deployments that models name."""
        return tuple(self._deployments.values())

    def key_ids(self, provider: str) -> tuple[str, ...]:
        """List the public names of a provider's keys, in the order of the configuration.

        One without keys is called without, under the name of no key.
        """
        return tuple(self._keys[provider]) or (f"{provider}:",)

    def key(self, provider: str, key_id: str) -> ApiKey | None:
        """Give a provider's key by its public name; None: it is no longer configured."""
        return self._keys[provider].get(key_id)

    def cards(self) -> tuple[ModelCard, ...]:
        """List the models, then what is known of providers that serve any model name."""
        owners = {
            name: self._deployments[plan[0].deployment].provider
            for name, plan in self._plans.items()
        }
        for deployment in self._deployments.values():
            plain = f"{deployment.provider}/{deployment.model}"
            if self._providers[deployment.provider].any_model:
                owners.setdefault(plain, deployment.provider)
        return tuple(
            ModelCard(id=name, created=self._created, owned_by=owner)
            for name, owner in owners.items()
        )

    def __contains__(self, model: object) -> bool:
        if not isinstance(model, str):
            return False
        return model in self._plans or self._provider_of(model) is not None

    def _provider_of(self, model: str) -> ProviderSettings | None:
        """Give the provider that serves `provider/<any model>` under this name."""
        name, _, upstream = model.partition("/")
        provider = self._providers.get(name)
        if provider is None or not provider.any_model or not upstream.strip():
            return None
        return provider if len(model) <= _MAX_MODEL_CHARACTERS else None

    def _any(self, model: str) -> tuple[Deployment, tuple[Candidate, ...]]:
        remembered = self._remembered.get(model)
        if remembered is not None:
            return remembered
        provider = self._provider_of(model)
        if provider is None:
            raise ModelNotFound(self._unknown(model), param="model")
        name, _, upstream = model.partition("/")
        listed = DeploymentSettings(provider=name, model=upstream)
        deployment = self._deployments.get(model) or _deployed(model, listed)
        if len(self._remembered) >= _MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[model] = deployment, (Candidate(deployment=deployment.id),)
        return self._remembered[model]

    def _unknown(self, model: str) -> str:
        """Say that a model does not exist, which ones do, and which may have been meant."""
        asked = model if len(model) <= 100 else f"{model[:100]}…"
        there = [*self._plans]
        there += [f"{name}/…" for name, one in self._providers.items() if one.any_model]
        near = get_close_matches(asked, there[:_SEARCHED], n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        shown = ", ".join(f"`{name}`" for name in there[:_SHOWN]) or "none"
        more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
        return f"The model `{asked}` does not exist.{hint} Models here: {shown}{more}."


def _listing(settings: Settings) -> dict[str, tuple[Deployment, ...]]:
    """Make the deployments of each model.

    What several models list in the same way is one deployment, so that its limits hold over all
    of them; what differs in weight or limits becomes one of its own, and gets a number.
    """
    made: dict[DeploymentSettings, Deployment] = {}
    times: dict[str, int] = {}
    for model in settings.models.values():
        for listed in model.deployments:
            if listed in made:
                continue
            plain = f"{listed.provider}/{listed.model}"
            times[plain] = times.get(plain, 0) + 1
            unique = plain if times[plain] == 1 else f"{plain}#{times[plain]}"
            made[listed] = _deployed(unique, listed)
    return {
        name: tuple(dict.fromkeys(made[listed] for listed in model.deployments))
        for name, model in settings.models.items()
    }


def _deployed(deployment_id: str, listed: DeploymentSettings) -> Deployment:
    return Deployment(
        id=deployment_id,
        provider=listed.provider,
        model=listed.model,
        weight=listed.weight,
        limits=listed.limits,
        price=listed.price,
        context_tokens=listed.context_tokens,
        vision=listed.vision,
        tools=listed.tools,
        vector_size=listed.vector_size,
    )


def _plan(
    name: str,
    models: Mapping[str, ModelSettings],
    listing: Mapping[str, tuple[Deployment, ...]],
) -> tuple[Candidate, ...]:
    """Rank the deployments of a model and of its fallbacks; those of `order` one by one."""
    ranks: dict[str, int] = {}
    rank = -1
    for model in _breadth_first(name, models):
        in_order = models[model].strategy == "order"
        for index, deployment in enumerate(listing[model]):
            rank += in_order or index == 0
            ranks.setdefault(deployment.id, rank)
    return tuple(Candidate(deployment=one, rank=rank) for one, rank in ranks.items())


def _breadth_first(start: str, models: Mapping[str, ModelSettings]) -> Iterator[str]:
    waiting, seen = deque([start]), {start}
    while waiting:
        name = waiting.popleft()
        yield name
        following = [one for one in models[name].fallbacks if one not in seen]
        seen.update(following)
        waiting.extend(following)


def key_id(provider: str, key: Secret) -> str:
    """Give a key's public name, by which status, logs and Redis know it."""
    return f"{provider}:{hashlib.sha256(key.reveal().encode()).hexdigest()[:8]}"


def _ladder(model: ModelSettings, settings: Settings) -> Ladder:
    rungs = settings.ladder if model.ladder is None else model.ladder
    return Ladder(rungs=rungs, tolerance_s=model.hint_tolerance_s)


def _version(settings: Settings) -> str:
    """Hash what decides where requests go; secrets go in as hashes of their own."""
    effective = {"providers": settings.providers, "models": settings.models}
    form = msgspec.json.encode(effective, enc_hook=_hashed, order="deterministic")
    return hashlib.sha256(form).hexdigest()[:12]


def _hashed(secret: object) -> str:
    if not isinstance(secret, Secret):
        raise TypeError(f"the settings hold a {type(secret).__name__}, which has no JSON form")
    return hashlib.sha256(secret.reveal().encode()).hexdigest()
