"""Makes a request in OpenAI's form fit a provider that differs from it (settings/differences)."""

from collections.abc import Mapping
from typing import Final

import msgspec

from pipeline.errors import UpstreamError
from workers.providers import verdict
from workers.providers.base import ProviderCall

Fields = dict[str, msgspec.Raw]

#: Values that say what goes without saying: with them a field need not be understood.
_NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "stop": ([],),
    "tool_choice": ("auto",),
    "tools": ([],),
}
_decode = msgspec.json.Decoder().decode


def fit(call: ProviderCall, fields: Fields) -> None:
    """Drop, refuse and rename the client's fields; raises `UpstreamError` with status 400."""
    differs = call.differs
    for name in differs.drop:
        fields.pop(name, None)
    for name in differs.refuse:
        if name in fields:
            _refuse(call, name, fields.pop(name))
    for ours, theirs in differs.rename.items():
        if ours in fields:
            _rename(call, fields, ours, theirs)


def _refuse(call: ProviderCall, name: str, value: msgspec.Raw) -> None:
    given = _decode(value)
    if given is None or given in _NEUTRAL.get(name, ()):
        return
    raise _unfit(
        call,
        name,
        f"`{name}` is not understood by this provider, and would be lost: leave it out, or ask "
        "for a model of another provider.",
    )


def _rename(call: ProviderCall, fields: Fields, ours: str, theirs: str) -> None:
    value = fields.pop(ours)
    if theirs not in fields:
        fields[theirs] = value
    elif bytes(fields[theirs]) != bytes(value) and bytes(value) != b"null":
        raise _unfit(
            call,
            ours,
            f"`{ours}` and `{theirs}` are one field at this provider, and say two things: leave "
            "one of them out.",
        )


def _unfit(call: ProviderCall, name: str, message: str) -> UpstreamError:
    return verdict.inexpressible(call, name, message)
