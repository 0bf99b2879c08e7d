"""LiteLLM's aliases and fallbacks, put on the models they are of."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final

import msgspec

from pipeline.importing.part import Part
from pipeline.importing.told import Report
from pipeline.settings.file import Tree

#: Kinds of fallbacks: LiteLLM's key, ours.
_KINDS: Final = (
    ("fallbacks", "fallbacks"),
    ("context_window_fallbacks", "context_fallbacks"),
    ("content_policy_fallbacks", "policy_fallbacks"),
)
_ANY: Final = "*"
#: What a model without its fallbacks is called.
_ALONE: Final = "-alone"


class Names(msgspec.Struct, frozen=True):
    """The models that were made, what their aliases stand for, and which make embeddings."""

    models: dict[str, Tree]
    aliases: Mapping[str, str]
    embeddings: Set[str]

    def known(self, name: object) -> str:
        """Give the model that a name or an alias stands for, or nothing."""
        plain = self.aliases.get(name, name) if isinstance(name, str) else ""
        return plain if plain in self.models else ""


def add_aliases(models: dict[str, Tree], aliases: dict[str, str], part: Part) -> None:
    """Give models their aliases, and put them down with what they stand for."""
    for alias, value in part.items():
        path, report = part.at(alias), part.tools.report
        name = value.get("model") if isinstance(value, Mapping) else value
        if isinstance(value, Mapping) and value.get("hidden"):
            report.differs(path, None, "an alias with us is not hidden from /v1/models")
        if alias in models:
            report.lost(path, name, "a model has this name; with us a model goes before an alias")
        elif not isinstance(name, str) or name not in models:
            report.lost(path, name, "no model that was taken over has this name")
        elif alias not in aliases:
            aliases[alias] = name
            _members(models[name], "aliases").append(alias)


def add_fallbacks(names: Names, router: Part, library: Part) -> None:
    """Give models their fallbacks; the router's go before the library's."""
    report = router.tools.report
    for theirs, ours in _KINDS:
        entries, also = router.listed(theirs), library.listed(theirs)
        for path, chain in entries or also:
            for name, followers in _chains(path, chain, report):
                _add_chain(
                    names, ours, (path, name), _known(names, path, followers, report), report
                )
    default = [*router.listed("default_fallbacks"), *library.listed("default_fallbacks")]
    if default:
        known = _known(names, default[0][0], [value for _, value in default], report)
        _add(names, "fallbacks", _chosen(names, "fallbacks", _ANY), known)
    _break_circles(names.models)
    for model in names.models.values():
        for _, ours in _KINDS:
            if not model.get(ours):
                model.pop(ours, None)


def _chains(path: str, chain: object, report: Report) -> Iterator[tuple[str, list[object]]]:
    if not isinstance(chain, Mapping):
        report.lost(path, chain, "expected a mapping of a model to a list of models")
        return
    for name, followers in chain.items():
        yield str(name), followers if isinstance(followers, list) else [followers]


def _chosen(names: Names, kind: str, name: str) -> list[str]:
    """Give the models that are meant: one, or all that have no fallbacks of the kind yet."""
    if name != _ANY:
        return [names.known(name)] if names.known(name) else []
    return [one for one, model in names.models.items() if kind not in model]


def _known(names: Names, path: str, followers: Sequence[object], report: Report) -> list[str]:
    for follower in followers:
        if not names.known(follower):
            report.lost(path, follower, *_why_unknown(follower))
    return [known for follower in followers if (known := names.known(follower))]


def _add_chain(
    names: Names, kind: str, origin: tuple[str, str], followers: Sequence[str], report: Report
) -> None:
    path, name = origin
    chosen = _chosen(names, kind, name)
    if not chosen:
        report.lost(path, name, "no model that was taken over has this name")
    unfit = _add(names, kind, chosen, followers)
    if unfit and name != _ANY:
        report.lost(path, unfit, f"of it and {name} one makes embeddings, and the other does not")


def _add(names: Names, kind: str, chosen: Sequence[str], followers: Sequence[str]) -> list[str]:
    """Append followers to the fallbacks of some models; gives those that make something else."""
    unfit: list[str] = []
    for one in chosen:
        for follower in followers:
            if (follower in names.embeddings) != (one in names.embeddings):
                unfit.append(follower)
            elif follower != one and follower not in _members(names.models[one], kind):
                _members(names.models[one], kind).append(follower)
    return unfit


def _why_unknown(follower: object) -> tuple[str, str]:
    if isinstance(follower, Mapping):
        return "a fallback with us is a model's name, without messages of its own", ""
    return (
        "no model that was taken over has this name",
        "name a model; a deployment's id, or a provider's pattern, is none",
    )


def _members(model: Tree, key: str) -> list[str]:
    found = model.setdefault(key, [])
    assert isinstance(found, list)
    return found


def _break_circles(models: dict[str, Tree]) -> None:
    """Let models that fall back to each other do so, each to the others' deployments alone.

    Our fallbacks go on to those of the model they lead to, so a circle would have no end.
    """
    ways = {name: _followers(model) for name, model in models.items()}
    for name, followers in ways.items():
        open_ended: list[str] = []
        for follower in followers:
            reached = _reached(follower, ways)
            if name in reached:
                open_ended += [_alone(models, one) for one in reached if one != name]
            else:
                open_ended.append(follower)
        if followers:
            models[name]["fallbacks"] = list(dict.fromkeys(open_ended))


def _followers(model: Tree) -> list[str]:
    found = model.get("fallbacks")
    return [*found] if isinstance(found, list) else []


def _reached(start: str, ways: Mapping[str, list[str]]) -> list[str]:
    """List what is fallen back to, from a model on, in the order in which it is."""
    found = [start]
    for name in found:
        found += [one for one in ways[name] if one not in found]
    return found


def _alone(models: dict[str, Tree], name: str) -> str:
    alone = f"{name}{_ALONE}"
    models.setdefault(
        alone,
        {key: models[name][key] for key in ("strategy", "deployments") if key in models[name]},
    )
    return alone
