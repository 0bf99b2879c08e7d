"""What the configuration names, and what is known to be wrong in it: what relations are judged by.

Existence is judged by the names in the tree, so that a provider with a fault of its own is not
also reported as missing.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pipeline.settings.decode import Text
from pipeline.settings.schema import Sections
from pipeline.settings.secret import quote


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """The names that were given, whether or not what they name could be decoded."""

    providers: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()
    #: What variables stood for, wherever it is: no fault quotes it.
    hidden: frozenset[str] = frozenset()
    #: The faults that are told already.
    told: tuple[str, ...] = ()

    def quote(self, text: str) -> str:
        """Quote text of the file for a fault."""
        return "what its variable holds" if text in self.hidden else quote(text)

    def is_faulty(self, path: str) -> bool:
        """Tell whether a fault is told at a place or within it."""
        return any(fault.startswith((f"{path}:", f"{path}.", f"{path}[")) for fault in self.told)

    def has_model(self, model: str, settings: Sections) -> bool:
        """Tell whether a model may be asked for: by a name of ours, or as `provider/model`."""
        if self.model_of(model, settings):
            return True
        name, slash, _ = model.partition("/")
        provider = settings.providers.get(name)
        if provider is None:
            return bool(slash and name in self.providers)
        return bool(slash and provider.any_model)

    def model_of(self, name: str, settings: Sections) -> str:
        """Give the model that is named so, or has the alias; empty: none."""
        if name in self.models:
            return name
        return next((one for one, model in settings.models.items() if name in model.aliases), "")


def named(tree: Mapping[str, object], told: Sequence[str] = ()) -> Named:
    """Collect the names in a tree."""
    return Named(
        providers=_keys(tree, "providers"),
        models=_keys(tree, "models"),
        tenants=_keys(tree, "tenants"),
        hidden=frozenset(_texts(tree)),
        told=tuple(told),
    )


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Text):
        yield str(value)
    elif isinstance(value, Mapping | list):
        for member in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(member)


def _keys(tree: Mapping[str, object], section: str) -> frozenset[str]:
    found = tree.get(section)
    return frozenset(map(str, found)) if isinstance(found, Mapping) else frozenset()
