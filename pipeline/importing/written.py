"""An import as a file: its settings as YAML, and what there is to say of them as comments."""

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Final

import yaml

from pipeline.importing.told import Imported

_WIDTH: Final = 96


class _Dumper(yaml.SafeDumper):
    """Writes what stands in two places twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - its base asks of each
        return True


def headings(imported: Imported) -> list[tuple[str, list[str]]]:
    """Give what there is to say, under its headings; what is empty is left out."""
    all_of_them = [
        (
            "Set these variables in the environment first",
            [str(one) for one in imported.variables],
        ),
        ("No counterpart, and therefore lost", [str(one) for one in imported.unmatched]),
        ("Taken over, and different", [str(one) for one in imported.differing]),
    ]
    return [(heading, lines) for heading, lines in all_of_them if lines]


def as_yaml(imported: Imported, origin: str) -> str:
    """Write the file, headed by everything that is to be known about it."""
    lines = [f"Made by `sluice import` from {origin}."]
    for heading, said in headings(imported):
        lines += ["", f"{heading}:", *_list(said)]
    head = "\n".join(f"# {line}".rstrip() for line in lines)
    body = yaml.dump(
        imported.settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH
    )
    return f"{head}\n\n{body}"


def as_text(imported: Imported) -> str:
    """Write what there is to say for a reader at a terminal."""
    parts = ["\n".join([f"{head}:", *_list(said)]) for head, said in headings(imported)]
    return "\n\n".join(parts)


def _list(said: Iterable[str]) -> Iterator[str]:
    for one in said:
        yield from wrap(
            one,
            _WIDTH,
            initial_indent="  ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
