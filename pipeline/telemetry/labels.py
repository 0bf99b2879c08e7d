"""The bounded values of labels under one configuration; what it does not name is `other`."""

from typing import Final

import msgspec

from pipeline.current import Configuration
from pipeline.settings.load import ProviderSettings
from pipeline.telemetry.names import PROVIDER_NAMES

OTHER: Final = "other"


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as labels name it."""

    #: `provider/model`, or `provider/other` where the provider serves any model.
    name: str = OTHER
    #: What the GenAI conventions call the provider, and the model that is asked of it.
    provider: str = OTHER
    model: str = OTHER


_UNKNOWN: Final = Deployed()


class Labels:
    """What may stand in labels: only names of the configuration."""

    def __init__(self, configuration: Configuration) -> None:
        settings, catalog = configuration.settings, configuration.catalog
        self._models = {name: name for name in settings.models}
        for name, model in settings.models.items():
            self._models |= dict.fromkeys(model.aliases, name)
        self._tenants = {"": "", **{name: name for name in settings.tenants}}
        self._deployments = {
            one.id: Deployed(
                name=one.id, provider=_called(catalog.provider(one.provider)), model=one.model
            )
            for one in catalog.deployments()
        }
        self._any_model = {
            name: Deployed(name=f"{name}/{OTHER}", provider=_called(provider))
            for name, provider in settings.providers.items()
            if provider.any_model
        }

    def model(self, named: str) -> str:
        """Give a model's name."""
        return self._models.get(named, OTHER)

    def tenant(self, named: str) -> str:
        """Give a tenant's name; empty where a request has none."""
        return self._tenants.get(named, OTHER)

    def deployment(self, named: str) -> Deployed:
        """Give a deployment's names."""
        found = self._deployments.get(named)
        if found is None:
            found = self._any_model.get(named.partition("/")[0], _UNKNOWN)
        return found


def _called(provider: ProviderSettings) -> str:
    return PROVIDER_NAMES.get(provider.kind, provider.kind)
