"""The catalog: which deployments may serve a model, in the order in which they are to be tried.

It is built once from the settings and never changes; asking it costs a look in a dictionary.
Which of the candidates has capacity is the gate's to know.
"""

import hashlib
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

import msgspec

from pipeline import clock
from pipeline.catalog_deployments import Deployment, deployed, listing
from pipeline.catalog_fitting import Fit, Fitting, Wanted, wanted_of
from pipeline.catalog_plans import SPECIAL, Planner, Special
from pipeline.errors import BadRequest, ModelNotFound
from pipeline.event import Candidate, Event, Operation
from pipeline.ladder import Ladder
from pipeline.settings.load import (
    ApiKey,
    DeploymentSettings,
    ModelSettings,
    ProviderSettings,
    Secret,
    Settings,
)

__all__ = ["Catalog", "Deployment", "ModelCard", "Special", "key_id"]

#: Deployments of `provider/<any model>` that are remembered; clients choose those names.
_MAX_REMEMBERED: Final = 1024
_MAX_MODEL_CHARACTERS: Final = 256
#: How many names an error shows, and searches for a near one.
_SHOWN, _SEARCHED = 20, 500

_USUAL: Final = ModelSettings()


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
        self._models = dict(settings.models)
        self._aliases = {
            alias: name for name, model in settings.models.items() for alias in model.aliases
        }
        listed = listing(settings.models)
        self._deployments = {one.id: one for ones in listed.values() for one in ones}
        planner = Planner(settings.models, self._aliases, listed)
        self._fittings = {name: self._fitting(planner.plan(name)) for name in settings.models}
        self._special = {
            (name, kind): self._fitting(planner.special(name, kind))
            for name in settings.models
            for kind in SPECIAL
        }
        self._remembered: dict[str, tuple[Deployment, Fitting]] = {}
        self._able: dict[Wanted, str] = {}
        self._keys = {
            name: {key_id(name, key): key for key in provider.keys}
            for name, provider in settings.providers.items()
        }
        self._ladder = Ladder(rungs=settings.ladder)
        self._ladders = {name: _ladder(model, settings) for name, model in settings.models.items()}
        self._created = int(clock.now())
        gateway = settings.gateway
        self._usual = {"chat": gateway.default_model, "embeddings": gateway.default_embedding_model}

    def canonical(self, model: str) -> str:
        """Give our name for a model: what an alias stands for, or the name as it is."""
        return self._aliases.get(model, model)

    def model(self, model: str) -> ModelSettings:
        """Give a model's settings; what has none of its own has the usual ones."""
        return self._models.get(self.canonical(model), _USUAL)

    def usual(self, operation: Operation) -> str:
        """Name the model of a kind that is taken where none is named; empty: there is none."""
        return self._usual[operation]

    def ladder(self, model: str) -> Ladder:
        """Give the ladder that a model's requests climb."""
        return self._ladders.get(self.canonical(model), self._ladder)

    def rungs(self) -> tuple[int, ...]:
        """List the rungs of all ladders, in seconds."""
        ladders = (self._ladder, *self._ladders.values())
        return tuple(sorted({rung for ladder in ladders for rung in ladder.rungs}))

    def candidates(self, model: str) -> tuple[Candidate, ...]:
        """Give a model's deployments, then its fallbacks', breadth first and without repeats.

        Raises `ModelNotFound`, which names what there is.
        """
        return self._fitting_of(model).plan

    def special(self, model: str, kind: Special) -> tuple[Candidate, ...]:
        """Give the plan after a failure for a prompt's length, or for its content.

        Empty: the model has no such fallbacks.
        """
        fitting = self._special.get((self.canonical(model), kind))
        return fitting.plan if fitting else ()

    def fit(self, event: Event) -> Fit:
        """Give the candidates for a request without those that cannot serve it.

        The same kind of request gets the same tuple. Raises `ModelNotFound`, and `BadRequest`
        when none is left, which says what is asked, why none can, and which models could.
        """
        fit = self._fitting_of(event.model).fit(event)
        if not fit.plan:
            raise BadRequest(self._unfit(event, fit), param="model")
        return fit

    def special_fit(self, event: Event, kind: Special) -> Fit:
        """Give the special plan for a request without those that cannot serve it."""
        fitting = self._special.get((self.canonical(event.model), kind))
        return fitting.fit(event) if fitting else Fit(plan=())

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
            name: self._deployments[fitting.plan[0].deployment].provider
            for name, fitting in self._fittings.items()
        }
        owners |= {alias: owners[name] for alias, name in self._aliases.items()}
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
        return self.canonical(model) in self._fittings or self._provider_of(model) is not None

    def _fitting(self, plan: tuple[Candidate, ...]) -> Fitting:
        return Fitting(plan, [self._deployments[one.deployment] for one in plan])

    def _fitting_of(self, model: str) -> Fitting:
        found = self._fittings.get(self.canonical(model))
        return self._any(model)[1] if found is None else found

    def _provider_of(self, model: str) -> ProviderSettings | None:
        """Give the provider that serves `provider/<any model>` under this name."""
        name, _, upstream = model.partition("/")
        provider = self._providers.get(name)
        if provider is None or not provider.any_model or not upstream.strip():
            return None
        return provider if len(model) <= _MAX_MODEL_CHARACTERS else None

    def _any(self, model: str) -> tuple[Deployment, Fitting]:
        remembered = self._remembered.get(model)
        if remembered is not None:
            return remembered
        provider = self._provider_of(model)
        if provider is None:
            raise ModelNotFound(self._unknown(model), param="model")
        name, _, upstream = model.partition("/")
        listed = DeploymentSettings(provider=name, model=upstream)
        deployment = self._deployments.get(model) or deployed(model, listed)
        if len(self._remembered) >= _MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        fitting = Fitting((Candidate(deployment=deployment.id),), (deployment,))
        self._remembered[model] = deployment, fitting
        return self._remembered[model]

    def _unknown(self, model: str) -> str:
        """Say that a model does not exist, which ones do, and which may have been meant."""
        asked = model if len(model) <= 100 else f"{model[:100]}…"
        there = [*self._fittings, *self._aliases]
        there += [f"{name}/…" for name, one in self._providers.items() if one.any_model]
        near = get_close_matches(asked, there[:_SEARCHED], n=1)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        return f"The model `{asked}` does not exist.{hint} Models here: {_listed(there)}."

    def _unfit(self, event: Event, fit: Fit) -> str:
        """Say that no deployment of a model can serve a request, and which models could."""
        wanted = wanted_of(event)
        able = self._able.get(wanted)
        if able is None:
            found = (name for name, fitting in self._fittings.items() if fitting.can(wanted))
            able = self._able[wanted] = _listed([*found])
        return (
            f"No deployment of `{event.model}` serves {wanted} ({fit.left_out}). "
            f"Models here that do: {able}."
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN]) or "none"
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


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
