"""Checks a value against the official client's own types of a request, as strictly as they say.

Pydantic reads these types too, but takes keys that they do not have, and looks into an
`Iterable` no sooner than someone iterates.
"""

import types
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated, Final, Literal, NotRequired, Required, Union, get_args, get_origin

from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from typing_extensions import get_type_hints, is_typeddict

#: Fields of the API's version 2023-06-01 that the client's version has no more.
_SAMPLING: Final = ("temperature", "top_p", "top_k")
_UNIONS: Final = (Union, types.UnionType)
#: What says more of the type that it holds.
_MARKS: Final[tuple[object, ...]] = (Required, NotRequired, Annotated)
_LITERAL: Final[object] = Literal


def check_request(body: Mapping[str, object]) -> None:
    """Check a request's body; fails with the path and the reason."""
    form = MessageCreateParamsStreaming if body["stream"] else MessageCreateParamsNonStreaming
    rest = {name: value for name, value in body.items() if name not in _SAMPLING}
    fault = _fault(rest, form, "body")
    assert fault is None, fault


def _fault(value: object, hint: object, path: str) -> str | None:
    """Tell what is wrong; None: nothing is."""
    arguments = get_args(hint)
    if is_typeddict(hint):
        return _fault_of_fields(value, hint, path)
    match get_origin(hint):
        case None:
            return _fault_of_plain(value, hint, path)
        case origin if origin in _UNIONS:
            faults = [_fault(value, one, path) for one in arguments]
            return None if None in faults else "; ".join(filter(None, faults))
        case origin if origin in _MARKS:
            return _fault(value, arguments[0], path)
        case origin if origin in (list, Iterable, Sequence):
            return _fault_of_items(value, arguments[0], path)
        case origin:
            fits = value in arguments if origin is _LITERAL else _is_object(value, origin)
            return None if fits else f"{path} is {value!r}, not {hint}"


def _is_object(value: object, origin: object) -> bool:
    return origin in (dict, Mapping) and isinstance(value, dict)


def _fault_of_plain(value: object, hint: object, path: str) -> str | None:
    if hint is object:
        return None
    kinds = (int, float) if hint is float else hint
    fits = isinstance(kinds, type | tuple) and isinstance(value, kinds)
    return None if fits else f"{path} is {value!r}, not {hint}"


def _fault_of_fields(value: object, hint: object, path: str) -> str | None:
    if not isinstance(value, dict):
        return f"{path} is no object"
    hints = _hints(hint)
    if unknown := set(value) - set(hints):
        return f"{path} has {unknown}, which {hint} has not"
    for name, of in hints.items():
        if name in value:
            fault = _fault(value[name], of, f"{path}.{name}")
            if fault is not None:
                return fault
        elif get_origin(of) in _MARKS[:1]:
            return f"{path} lacks {name}"
    return None


@cache
def _hints(of: object) -> Mapping[str, object]:
    return get_type_hints(of, include_extras=True)


def _fault_of_items(value: object, hint: object, path: str) -> str | None:
    if not isinstance(value, list):
        return f"{path} is no list"
    faults = (_fault(item, hint, f"{path}[{at}]") for at, item in enumerate(value))
    return next(filter(None, faults), None)
