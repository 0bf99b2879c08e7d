"""Decode a tree of plain values into structs, naming every fault with its path.

msgspec stops at the first fault; this walks the same annotations, leaves the single values to
msgspec, and goes on. What is faulty takes its default, or is left out, so that the checks that
follow find the rest of the faults.
"""

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from pipeline.settings.secret import Secret, quote

S = TypeVar("S", bound=msgspec.Struct)


class Broken:
    """Stands where a fault has been named already."""


BROKEN: Final = Broken()

_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
}


class Text(str):
    """Text from a variable: it may stand for a number or a list, and is never quoted."""

    __slots__ = ("origin",)
    #: The variable or option that it came from.
    origin: str

    def __new__(cls, text: str, origin: str) -> "Text":
        made = super().__new__(cls, text)
        made.origin = origin
        return made


def child(path: str, key: object) -> str:
    """Write the path of a mapping's or list's member."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    named = str(key)
    shown = named if quote(named).startswith('"') else "…"
    return f"{path}.{shown}" if path else shown


def near(name: str, known: Iterable[str]) -> str:
    """Write the question whether a known name was meant, or nothing when none is near."""
    folded = {one.lower(): one for one in known}
    matches = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return f'; did you mean "{folded[matches[0]]}"?' if matches else ""


def decode(tree: Mapping[str, object], shape: type[S]) -> tuple[S | None, list[str]]:
    """Decode a tree, giving what could be read of it and the faults."""
    walk = _Walk()
    made = walk.struct(tree, shape, "")
    return (made if isinstance(made, shape) else None), walk.faults


class _Walk:
    """One walk down the annotations; the faults gather as it goes."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def value(self, value: object, shape: object, path: str) -> object:
        """Decode one value of any annotation that the settings use."""
        if isinstance(value, Broken):
            return BROKEN
        bare = _bare(shape)
        origin = get_origin(bare)
        if origin in (Union, UnionType):
            return self._optional(value, bare, path)
        if origin is tuple or origin is Mapping:
            return self._collection(value, bare, path)
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
            return self.struct(value, bare, path)
        if isinstance(bare, type) and issubclass(bare, Secret):
            return self._secret(value, bare, path)
        return self._scalar(value, shape, path)

    def struct(self, value: object, shape: type[msgspec.Struct], path: str) -> object:
        """Decode a section: unknown keys, missing keys and each key's own faults."""
        members = self._members(value, path)
        if members is None:
            return BROKEN
        fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
        for key in members:
            if key not in fields:
                self._unknown(path, key, members[key], fields)
        made: dict[str, object] = {}
        whole = True
        for name, field in fields.items():
            if name in members:
                found = self.value(members[name], field.type, child(path, name))
            elif field.required:
                found = self._fault(child(path, name), "missing")
            else:
                continue
            if not isinstance(found, Broken):
                made[field.name] = found
            elif field.required:
                whole = False
        return shape(**made) if whole else BROKEN

    def _unknown(self, path: str, key: object, value: object, known: Iterable[str]) -> None:
        origin = f" (from {value.origin})" if isinstance(value, Text) else ""
        self._fault(child(path, str(key)), f"unknown key{origin}{near(str(key), known)}")

    def _optional(self, value: object, shape: object, path: str) -> object:
        if value is None or value == "":
            return None
        arm = next(arm for arm in get_args(shape) if arm is not NoneType)
        return self.value(value, arm, path)

    def _collection(self, value: object, shape: object, path: str) -> object:
        arguments = get_args(shape)
        if get_origin(shape) is Mapping:
            return self._mapping(value, arguments, path)
        return self._sequence(value, arguments[0], path)

    def _sequence(self, value: object, item: object, path: str) -> object:
        if isinstance(value, Text):
            parts = value.split(",") if value.strip() else []
            value = [Text(part.strip(), value.origin) for part in parts]
        if value is None:
            return ()
        if not isinstance(value, list):
            return self._fault(path, f"expected a list, got {_kind(value)}")
        # A key whose variable is empty is one key less, not a fault.
        secret = isinstance(item, type) and issubclass(item, Secret)
        found = [
            self.value(member, item, child(path, index))
            for index, member in enumerate(value)
            if not (secret and member == "")
        ]
        return tuple(one for one in found if not isinstance(one, Broken))

    def _mapping(self, value: object, shapes: tuple[object, ...], path: str) -> object:
        members = self._members(value, path)
        if members is None:
            return BROKEN
        made: dict[object, object] = {}
        for key, member in members.items():
            name = self._scalar(key, shapes[0], child(path, str(key)))
            found = self.value(member, shapes[1], child(path, str(key)))
            if not isinstance(name, Broken) and not isinstance(found, Broken):
                made[name] = found
        return made

    def _members(self, value: object, path: str) -> Mapping[object, object] | None:
        """Take a mapping as it is and nothing as an empty one; all else is a fault."""
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return value
        self._fault(path, f"expected a mapping of keys, got {_kind(value)}")
        return None

    def _secret(self, value: object, shape: type[Secret], path: str) -> object:
        if not isinstance(value, str):
            got = f"{_kind(value)}{_quotes_hint(value)}"
            return self._fault(path, f"expected {shape.expected}, got {got}")
        try:
            return shape(value.strip())
        except ValueError as fault:
            origin = f", got {_kind(value)}" if isinstance(value, Text) else ""
            return self._fault(path, f"{fault}{origin}")

    def _scalar(self, value: object, shape: object, path: str) -> object:
        try:
            plain, strict = (str(value), False) if isinstance(value, Text) else (value, True)
            found: object = msgspec.convert(plain, shape, strict=strict)
        except msgspec.ValidationError:
            found = BROKEN
        if isinstance(found, str) and not _matches(found, shape):
            found = BROKEN
        if isinstance(found, float) and not math.isfinite(found):
            found = BROKEN
        if isinstance(found, Broken):
            hint = _quotes_hint(value) if _bare(shape) is str else ""
            self._fault(path, f"expected {_expected(shape)}, got {_shown(value)}{hint}")
        return found

    def _fault(self, path: str, text: str) -> Broken:
        self.faults.append(f"{path}: {text}")
        return BROKEN


def _bare(shape: object) -> object:
    return get_args(shape)[0] if get_origin(shape) is Annotated else shape


def _meta(shape: object) -> msgspec.Meta:
    found = next((arg for arg in get_args(shape)[1:] if isinstance(arg, msgspec.Meta)), None)
    return found or msgspec.Meta()


def _matches(text: str, shape: object) -> bool:
    """Match the whole text, where msgspec is content with a part of it."""
    if get_origin(shape) is not Annotated:
        return True
    pattern = _meta(shape).pattern
    return pattern is None or re.fullmatch(pattern, text) is not None


def _expected(shape: object) -> str:
    """Put what an annotation allows into words."""
    bare = _bare(shape)
    if get_origin(bare) is Literal:
        return "one of " + ", ".join(map(str, get_args(bare)))
    if get_origin(shape) is not Annotated:
        return _KINDS[bare] if isinstance(bare, type) else str(bare)
    meta = _meta(shape)
    if meta.description is not None:
        return meta.description
    kind = _KINDS[bare] if isinstance(bare, type) else str(bare)
    if meta.le is None:
        return f"{kind} ≥ {meta.ge}"
    if meta.ge is None:
        return f"{kind} > {meta.gt} and ≤ {meta.le}"
    return f"{kind} from {meta.ge} to {meta.le}"


def _quotes_hint(value: object) -> str:
    """Tell how a number or date is written where text is wanted."""
    return "" if value is None or isinstance(value, str | list | Mapping) else "; put it in quotes"


def _shown(value: object) -> str:
    """Show a value that is no secret's."""
    if isinstance(value, str) and not isinstance(value, Text):
        return quote(value)
    if isinstance(value, int | float):
        return str(value).lower()
    return _kind(value)


def _kind(value: object) -> str:
    """Name a value's kind, and quote nothing of it."""
    if isinstance(value, Text):
        return f"{'text' if value else 'nothing'} from {value.origin}"
    kinds: tuple[tuple[type | UnionType, str], ...] = (
        (NoneType, "nothing"),
        (bool, "true or false"),
        (int | float, "a number"),
        (str, "text"),
        (list, "a list"),
        (Mapping, "a mapping"),
    )
    names = (name for kind, name in kinds if isinstance(value, kind))
    return next(names, f"a {type(value).__name__}")
