"""A part of a source, from which values are taken by name; what is left over is told as lost."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, get_args

import msgspec

from pipeline.importing.told import Report
from pipeline.importing.variables import KEY, NUMBER, Variables, referred
from pipeline.settings.decode import child
from pipeline.settings.file import Tree

#: Why a key has no counterpart, and what to do instead.
Reasons = Mapping[str, tuple[str, str]]
#: A number, or the reference to a variable that holds one.
Amount = int | float | str

_NOTHING: Final[tuple[object, ...]] = (None, False, "", [], {})
#: Keys that are plain words, however long.
_WORDS: Final = re.compile(r"[a-z]{1,20}(?:_[a-z]{1,20})*")
_UNKNOWN: Final = ("Sluice has nothing like it", "")


class Tools(msgspec.Struct, frozen=True):
    """What all parts of one source share."""

    report: Report
    variables: Variables


class Part:
    """A mapping of the source; whatever is not taken from it is lost, and told."""

    def __init__(self, path: str, members: Mapping[str, object], tools: Tools) -> None:
        self.path = path
        self.tools = tools
        self._left: Tree = dict(members)

    def __contains__(self, key: str) -> bool:
        return self._left.get(key) is not None

    def at(self, key: object) -> str:
        """Write the path of a member; keys that may be secrets are hidden."""
        if isinstance(key, str) and _WORDS.fullmatch(key):
            return f"{self.path}.{key}" if self.path else key
        return child(self.path, key)

    def take(self, *keys: str) -> object:
        """Take the first of some keys that is set; the others are taken, too."""
        found = [self._left.pop(key, None) for key in keys]
        return next((value for value in found if value is not None), None)

    def text(self, *keys: str) -> str:
        """Take text; numbers are written out."""
        value = self.take(*keys)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value).strip()
        self._misfit(keys[0], value, "text")
        return ""

    def plain(self, key: str, sample: str = KEY) -> str:
        """Take text that is no secret, as the new configuration writes it."""
        return self.tools.variables.plain(self.text(key), self.at(key), sample)

    def flag(self, key: str) -> bool:
        """Take true or false; absent: false."""
        value = self.take(key)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            self._misfit(key, value, "true or false")
        return value is True

    def amount(self, *keys: str) -> Amount | None:
        """Take a number, or refer to the variable that holds it."""
        key = next((key for key in keys if key in self), keys[0])
        value = self.take(*keys)
        if isinstance(value, str) and referred(value):
            return self.tools.variables.plain(value, self.at(key), NUMBER)
        number = _number(value)
        if number is None:
            self._misfit(key, value, "a number")
        elif number < 0:
            self._misfit(key, value, "a number ≥ 0")
            return None
        return number

    def count(self, *keys: str) -> Amount | None:
        """Take a whole number of at least 1; less is told as lost."""
        key = next((key for key in keys if key in self), keys[0])
        found = self.amount(*keys)
        if isinstance(found, str | None):
            return found
        if int(found) < 1:
            self.tools.report.lost(
                self.at(key), found, "Sluice takes no limit below 1", "leave the deployment out"
            )
            return None
        return int(found)

    def number(self, *keys: str) -> int | float | None:
        """Take a number that is to be reckoned with, which a variable's cannot be."""
        key = next((key for key in keys if key in self), keys[0])
        found = self.amount(*keys)
        if isinstance(found, str):
            why = "it is reckoned with, and its variable's value is not known here"
            self.tools.report.lost(self.at(key), None, why, "write the number")
            return None
        return found

    def part(self, key: str) -> "Part":
        """Take a mapping; absent: an empty one."""
        value = self.take(key)
        if not isinstance(value, Mapping):
            self._misfit(key, value, "a mapping")
        return Part(self.at(key), value if isinstance(value, Mapping) else {}, self.tools)

    def parts(self, key: str) -> list["Part"]:
        """Take a list of mappings."""
        found = []
        for path, value in self.listed(key):
            if isinstance(value, Mapping):
                found.append(Part(path, value, self.tools))
            else:
                self._stray(path, value, "a mapping")
        return found

    def listed(self, key: str) -> list[tuple[str, object]]:
        """Take a list's members with their paths; a single one counts as a list of it."""
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list):
            value = [value]
        return [(f"{self.at(key)}[{index}]", member) for index, member in enumerate(value)]

    def items(self) -> Iterator[tuple[str, object]]:
        """Take everything, key by key."""
        for key in list(self._left):
            yield key, self._left.pop(key)

    def rest(self, reasons: Reasons, otherwise: tuple[str, str] = _UNKNOWN) -> None:
        """Tell all that is left over as lost, each with its reason."""
        for key, value in self.items():
            if value not in _NOTHING:
                why, instead = reasons.get(key, otherwise)
                self.tools.report.lost(self.at(key), value, why, instead)

    def _misfit(self, key: str, value: object, expected: str) -> None:
        if value is not None:
            self._stray(self.at(key), value, expected)

    def _stray(self, path: str, value: object, expected: str) -> None:
        self.tools.report.lost(path, value, f"expected {expected}", "mend it in the source")


def fits(text: str, shape: object) -> bool:
    """Tell whether text has the form that a kind of setting must have."""
    patterns = [arg.pattern for arg in get_args(shape) if isinstance(arg, msgspec.Meta)]
    return all(re.fullmatch(pattern, text) for pattern in patterns if pattern)


def _number(value: object) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if not isinstance(value, float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    if not math.isfinite(found):
        return None
    return int(found) if found.is_integer() else found
