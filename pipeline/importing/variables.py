"""The environment variables of a new configuration: those a source refers to, and made-up ones.

No secret of the source gets further than this file.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pipeline.importing.told import Variable
from pipeline.settings.env import PREFIX

#: LiteLLM's `os.environ/NAME`, and what a shell would put in before others read the file.
_REFERENCE: Final = re.compile(r"os\.environ/(?P<name>\S+)|\$\{?(?P<shell>[A-Za-z_]\w*)\}?")

#: What is put in for a variable when the result is tried.
KEY: Final = "placeholder"
ADDRESS: Final = "https://placeholder.example"
NUMBER: Final = "1"


class Variables:
    """The variables of one import."""

    def __init__(self, tree: Mapping[str, object]) -> None:
        self._taken = {name for text in _texts(tree) if (name := referred(text))}
        self._known: dict[str, Variable] = {}
        self._secrets: dict[str, str] = {}
        #: What may stand in each one's place when the result is tried.
        self.samples: dict[str, str] = {}

    def listed(self) -> list[Variable]:
        """Give all that the new configuration refers to, in the order of their first use."""
        return list(self._known.values())

    def use(self, name: str, stands_for: str, sample: str = KEY) -> str:
        """Refer to a variable that exists, or has to."""
        return self._refer(Variable(name=name, stands_for=stands_for), sample)

    def made_up(
        self, wish: str, stands_for: str, sample: str = KEY, *, in_source: bool = False
    ) -> str:
        """Refer to a variable with a name of its own, near the one wished for."""
        names = (wish if number == 1 else f"{wish}_{number}" for number in range(1, 10_000))
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        return self._refer(Variable(name=name, stands_for=stands_for, in_source=in_source), sample)

    def secret(self, text: str, wish: str, path: str) -> str:
        """Refer to a secret: by the variable it names, or one in which it is to be put."""
        name = referred(text)
        if name:
            return self.use(name, path)
        if text not in self._secrets:
            self._secrets[text] = self.made_up(wish, path, in_source=True)
        return self._secrets[text]

    def plain(self, text: str, path: str, sample: str = KEY) -> str:
        """Write text that is no secret, or refer to the variable that it names."""
        name = referred(text)
        return self.use(name, path, sample) if name else text.replace("$", "$$")

    def _refer(self, variable: Variable, sample: str) -> str:
        if variable.name not in self._known:
            self._known[variable.name] = variable
            # Two keys that are the same would be a fault.
            own = f"{sample}-{len(self._known)}" if sample == KEY else sample
            self.samples[variable.name] = own
        return f"${{{variable.name}}}"


def referred(text: str) -> str:
    """Give the name of the variable that a text stands for, or nothing."""
    match = _REFERENCE.fullmatch(text.strip())
    if match is None:
        return ""
    name = re.sub(r"\W", "_", match["name"] or match["shell"])
    # Sluice takes variables with its own prefix for settings, and others must begin with a letter.
    return f"MY_{name}" if name.startswith(PREFIX) or name[0].isdigit() else name


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for member in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(member)
