"""What an import tells beside the settings: what was lost, what differs, what is to be set."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from pipeline.settings.file import Tree
from pipeline.settings.secret import quote

#: Keys whose values are not shown, whatever they look like.
_SECRET_KEYS: Final = re.compile(
    r"key|token(?!s)|secret|passw|credential|auth|licen[cs]e|database_url|dsn|webhook|cookie|connection|private"
    r"|environment_variables",
    re.IGNORECASE,
)
#: More members of a list or mapping are not shown.
_SHOWN: Final = 4


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is lost, or that differs."""

    #: Where it stands in the source.
    path: str
    #: As it stands there; empty: it is a secret, or there is nothing to show.
    value: str = ""
    why: str
    #: What to do instead.
    instead: str = ""

    def __str__(self) -> str:
        value = f" = {self.value}" if self.value else ""
        instead = f" → {self.instead}" if self.instead else ""
        return _one_line(f"{self.path}{value}: {self.why}{instead}")


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """An environment variable that the new configuration needs."""

    name: str
    #: Where in the source it was, or what it stands for.
    stands_for: str
    #: Whether the source holds its value, which is to be moved to the environment.
    in_source: bool = False

    def __str__(self) -> str:
        moved = "; move its value from there" if self.in_source else ""
        return _one_line(f"{self.name}: {self.stands_for}{moved}")


class Report:
    """What gathers while a source is read."""

    def __init__(self) -> None:
        self.unmatched: list[Remark] = []
        self.differing: list[Remark] = []

    def lost(self, path: str, value: object, why: str, instead: str = "") -> None:
        """Tell what has no counterpart."""
        said = Remark(path=path, value=shown(path, value), why=why, instead=instead)
        self.unmatched.append(said)

    def differs(self, path: str, value: object, why: str, instead: str = "") -> None:
        """Tell what is taken over, and means something else."""
        said = Remark(path=path, value=shown(path, value), why=why, instead=instead)
        if said not in self.differing:
            self.differing.append(said)


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """Settings in the file's form, and what there is to say of them."""

    settings: Tree
    unmatched: list[Remark]
    differing: list[Remark]
    variables: list[Variable]
    #: What may stand in each variable's place when the settings are tried.
    samples: dict[str, str]


def shown(path: str, value: object, depth: int = 0) -> str:
    """Show a value unless it is, or holds, or looks like a secret."""
    if value is None or _SECRET_KEYS.search(path):
        return ""
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, str):
        # The path of an address may be its secret, as those of webhooks are.
        scheme, mark, rest = value.partition("://")
        return quote(f"{scheme}://{re.split('[/?#]', rest)[0]}/…" if mark else value)
    if depth == 0 and isinstance(value, Mapping):
        return _several([f"{key}: {_member(str(key), one)}" for key, one in value.items()], "{}")
    if depth == 0 and isinstance(value, list):
        return _several([_member("", one) for one in value], "[]")
    return "…"


def _member(key: str, value: object) -> str:
    return shown(key, value, depth=1) or "…"


def _several(members: list[str], brackets: str) -> str:
    more = ", …" if len(members) > _SHOWN else ""
    return f"{brackets[0]}{', '.join(members[:_SHOWN])}{more}{brackets[1]}"


def _one_line(text: str) -> str:
    """Keep a source's line ends and control characters out of comments and terminals."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
