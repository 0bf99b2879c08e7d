"""A target: one deployment as the source has it; and the providers that targets make up.

Targets with one address and key become one provider; several keys at one address become one
provider only where each serves the same, because our limits on a deployment hold over all keys.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from pipeline.importing.part import Amount
from pipeline.importing.told import Report
from pipeline.settings.differences import KNOWN, Like
from pipeline.settings.file import Tree
from pipeline.settings.models import BASE_URLS, Kind, Timeouts

_MAX_NAME: Final = 64
_PLAIN_HOSTS: Final = ("api", "localhost", "www", "host")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a target is, apart from its key."""

    kind: Kind
    like: Like | None = None
    base_url: str = ""
    api_version: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment of the source."""

    #: Where it stands there.
    path: str
    #: The model as clients name it, and as the provider does.
    name: str
    model: str
    #: What its provider is to be called.
    wish: str
    place: Place
    #: The reference to its key; empty: none.
    key: str = ""
    weight: int | float | None = None
    order: int | float | None = None
    limits: dict[str, Amount] = {}
    #: Further settings of the deployment, and those that its provider has with us.
    details: Tree = {}
    timeout: dict[str, Amount] = {}
    cooldown_s: Amount | None = None
    #: Whether it stands for all models of its provider.
    any_model: bool = False
    #: Whether it makes embeddings.
    embeds: bool = False


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A target and the provider that serves it, with so many keys."""

    target: Target
    provider: str
    keys: int = 1
    #: Whether its limits have become its provider's.
    is_limited_above: bool = False


class _Account(msgspec.Struct, frozen=True):
    """What is reached with one key, or with several that serve the same."""

    targets: list[Target]
    keys: list[str]


def providers(targets: Sequence[Target], report: Report) -> tuple[Tree, list[Served]]:
    """Make providers of targets, and say which of them serves each target that is left."""
    made: Tree = {}
    served: list[Served] = []
    for account in _merged(_accounts(targets)):
        name = _name(account.targets[0], made)
        limits = _limits_above(account)
        made[name] = _provider(account, limits, report)
        served += [
            Served(
                target=target,
                provider=name,
                keys=len(account.keys) or 1,
                is_limited_above=bool(limits),
            )
            for target in account.targets
        ]
    order = {id(target): index for index, target in enumerate(targets)}
    return made, sorted(served, key=lambda one: order[id(one.target)])


def _accounts(targets: Iterable[Target]) -> list[_Account]:
    found: dict[tuple[Place, str], _Account] = {}
    for target in targets:
        account = found.setdefault(
            (target.place, target.key), _Account([], [target.key] if target.key else [])
        )
        account.targets.append(target)
    return list(found.values())


def _merged(accounts: Iterable[_Account]) -> list[_Account]:
    """Put accounts together that serve the same at one place with a key each."""
    found: dict[object, _Account] = {}
    for account in accounts:
        mark = _signature(account) if account.keys and _may_merge(account) else id(account)
        same = found.setdefault((account.targets[0].place, mark), account)
        if same is not account:
            same.keys.extend(account.keys)
    return list(found.values())


def _may_merge(account: _Account) -> bool:
    """Tell whether no limit would come to hold over more, or fewer, than it did."""
    return len(account.targets) == 1 or not any(target.limits for target in account.targets)


def _signature(account: _Account) -> bytes:
    """Say what an account serves, whatever its key."""
    alike = [
        msgspec.structs.replace(target, path="", key="", wish="") for target in account.targets
    ]
    return b"\n".join(sorted(msgspec.json.encode(target) for target in alike))


def _limits_above(account: _Account) -> dict[str, Amount]:
    """Give the limits that hold for each of several keys: those are the provider's with us."""
    return account.targets[0].limits if len(account.keys) > 1 else {}


def _provider(account: _Account, limits: dict[str, Amount], report: Report) -> Tree:
    place = account.targets[0].place
    made: Tree = {"kind": place.kind}
    if place.like:
        made["differs"] = {"like": place.like}
    usual = KNOWN[place.like].base_url if place.like else BASE_URLS.get(place.kind)
    if place.base_url and place.base_url != usual:
        made["base_url"] = place.base_url
    if place.api_version:
        made["api_version"] = place.api_version
    if account.keys:
        made["keys"] = list(account.keys)
    if limits:
        made |= {"limits": dict(limits), "limits_per": "key"}
    if place.headers:
        made["headers"] = dict(place.headers)
    timeout = _timeout(account.targets, report)
    if timeout:
        made["timeout"] = timeout
    cooldowns = [one.cooldown_s for one in account.targets]
    if any(one is not None for one in cooldowns):
        made["cooldown_s"] = _longest(account.targets, cooldowns, report)
    if any(target.any_model for target in account.targets):
        made["any_model"] = True
    return made


def _timeout(targets: Sequence[Target], report: Report) -> dict[str, Amount]:
    """Take the longest of each; where a deployment sets none, ours is one of them."""
    keys = dict.fromkeys(key for one in targets for key in one.timeout)
    usual = {key: getattr(Timeouts(), key) for key in keys}
    return {
        key: _longest(targets, [one.timeout.get(key, usual[key]) for one in targets], report)
        for key in keys
    }


def _longest(targets: Sequence[Target], values: Sequence[Amount | None], report: Report) -> Amount:
    """Choose one value for a provider of those that its deployments have."""
    given = [value for value in values if value is not None]
    numbers = [value for value in given if not isinstance(value, str)]
    if len({str(value) for value in values}) > 1:
        why = "deployments with one key share their timeouts and cooldown: the longest hold"
        report.differs(targets[0].path, None, why, "see providers.*.timeout and cooldown_s")
    return max(numbers) if numbers else given[0]


def _name(target: Target, taken: Tree) -> str:
    return next(name for name in _names(target) if name not in taken)


def _names(target: Target) -> Iterator[str]:
    """Suggest names: the plain one, one with the host's, and numbered ones."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", target.wish).strip("-._") or "provider"
    yield plain[:_MAX_NAME]
    label = host_label(target.place.base_url)
    if label and label != plain:
        yield f"{plain}-{label}"[:_MAX_NAME]
    for number in range(2, 10_000):
        yield f"{plain[: _MAX_NAME - 6]}-{number}"


def host_label(base_url: str) -> str:
    """Give the part of a host's name by which people know it, or nothing."""
    host = "" if "$" in base_url else urlsplit(base_url).hostname or ""
    label = host.split(".")[0]
    return label if re.fullmatch(r"[a-z][a-z0-9-]*", label) and label not in _PLAIN_HOSTS else ""
