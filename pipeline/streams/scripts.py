"""The Lua scripts of the flow, each one atomic step; read once from the files beside this one."""

import re
from hashlib import sha1
from importlib import resources
from typing import Final

import msgspec

_CONSTANTS: Final = re.compile(
    r"^local ([A-Z_]+(?:, [A-Z_]+)*) = ([\d.]+(?:, [\d.]+)*)$", flags=re.MULTILINE
)


class Script(msgspec.Struct, frozen=True):
    """A script's text and the name Redis knows it by."""

    text: str
    sha: str


def load(package: str, *names: str) -> Script:
    """Read `name.lua` of a package; of several names, one behind the other as one script."""
    folder = resources.files(package)
    text = _inlined("".join(folder.joinpath(f"{name}.lua").read_text() for name in names))
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def _inlined(text: str) -> str:
    """Put numbers in the place of the constants that name them.

    Every call makes a script's functions anew, and each name that one takes from around it costs
    time then: for admission 10 of 28 µs.
    """
    constants: dict[str, str] = {}
    for names, values in _CONSTANTS.findall(text):
        constants |= zip(names.split(", "), values.split(", "), strict=True)
    bare = _CONSTANTS.sub("", text)
    return re.sub(r"\b[A-Z_]+\b", lambda name: constants.get(name[0], name[0]), bare)


ACCEPT: Final = load("pipeline.streams", "accept")
TRANSITION: Final = load("pipeline.streams", "ladder", "transition")
MOVE: Final = load("pipeline.streams", "ladder", "move")
PROMOTE: Final = load("pipeline.streams", "promote")
CANCEL: Final = load("pipeline.streams", "cancel")
FLUSH: Final = load("pipeline.streams", "flush")
BEGINNING: Final = load("pipeline.streams", "beginning")
ATTACH: Final = load("pipeline.streams", "attach")
CLAIM: Final = load("pipeline.streams", "claim")
ADOPT: Final = load("pipeline.streams", "adopt")
MISSING: Final = load("pipeline.streams", "missing")
REGROUP: Final = load("pipeline.streams", "regroup")
TRIM: Final = load("pipeline.streams", "trim")
TIDY: Final = load("pipeline.streams", "tidy")
CALLBACK: Final = load("pipeline.streams", "callback")
WAKE: Final = load("pipeline.streams", "wake")
BEAT: Final = load("pipeline.streams", "beat")
