"""The Lua scripts of the flow, each one atomic step; read once from the files beside this one."""

from hashlib import sha1
from importlib import resources
from typing import Final

import msgspec


class Script(msgspec.Struct, frozen=True):
    """A script's text and the name Redis knows it by."""

    text: str
    sha: str


def load(package: str, *names: str) -> Script:
    """Read `name.lua` of a package; of several names, one behind the other as one script."""
    folder = resources.files(package)
    text = "".join(folder.joinpath(f"{name}.lua").read_text() for name in names)
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


ACCEPT: Final = load("pipeline.streams", "accept")
TRANSITION: Final = load("pipeline.streams", "transition")
FLUSH: Final = load("pipeline.streams", "flush")
ATTACH: Final = load("pipeline.streams", "attach")
CLAIM: Final = load("pipeline.streams", "claim")
TRIM: Final = load("pipeline.streams", "trim")
CALLBACK: Final = load("pipeline.streams", "callback")
WAKE: Final = load("pipeline.streams", "wake")
BEAT: Final = load("pipeline.streams", "beat")
