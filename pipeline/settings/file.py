"""Read the YAML file into a tree of plain values, with its variables put in.

`${NAME}` and `${NAME:-default}` stand for environment variables in values, never in keys; the
default holds when the variable is not set or empty; `$$` is a dollar.
"""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Final

import yaml

from pipeline.settings.decode import BROKEN, Text, child

_VARIABLE: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<bad>\{))"
)
#: What a parser quotes from the file, except single characters and its own `<token>` names.
_QUOTED: Final = re.compile(r"'(?!<)[^']{3,}'")
#: The settings are five levels deep; what is deeper is an anchor that holds itself.
_MAX_DEPTH: Final = 20

Tree = dict[str, object]


class _Loader(yaml.SafeLoader):
    """The safe loader, except that a key given twice is an error and not the last one's."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, key in enumerate(keys):
            if key in keys[:number] and key != "<<":
                mark = node.value[number][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, "a key is given twice", mark)
        return super().construct_mapping(node, deep)


def read(path: Path, environ: Mapping[str, str]) -> tuple[Tree, list[str]]:
    """Read a file; what cannot be read is told as a fault, which never quotes the file."""
    parsed, fault = parse(path)
    if fault:
        return {}, [fault]
    if parsed is None:
        return {}, []
    if not isinstance(parsed, dict):
        return {}, ["expected a mapping of sections (redis, gateway, providers …) at the top"]
    reader = _Variables(environ)
    return {str(key): reader.fill(value, str(key)) for key, value in parsed.items()}, reader.faults


def parse(path: Path) -> tuple[object, str]:
    """Read YAML as it stands, or tell the fault that it has."""
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.load(text, _Loader), ""  # noqa: S506 - a SafeLoader
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        return None, _fault_of(error)


def _fault_of(error: Exception) -> str:
    """Say why a file cannot be read, without the YAML's excerpt, which may hold a key."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return "cannot be read: it is not UTF-8 text"
    if not isinstance(error, yaml.MarkedYAMLError):
        return "no valid YAML: it holds characters, values or depths that are not allowed"
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = _QUOTED.sub("'…'", error.problem or "it cannot be parsed")
    return f"{place}no valid YAML: {problem}"


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """Put variables into text. Raises `KeyError` with the fault in words."""
    return _VARIABLE.sub(lambda match: _replacement(match, environ), text)


def _replacement(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match["dollar"]:
        return "$"
    if match["bad"]:
        raise KeyError("a ${ is not followed by NAME} or NAME:-default} (write $${ for the text)")
    name, default = match["name"], match["default"]
    if default is not None:
        return environ.get(name) or str(default)
    if name not in environ:
        raise KeyError(
            f"the variable {name} is not set (write ${{{name}:-}} where it may be missing)"
        )
    return environ[name]


class _Variables:
    """One walk through the tree that puts the variables in."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.faults: list[str] = []

    def fill(self, value: object, path: str, depth: int = 0) -> object:
        """Copy a value with its variables put in; each fault leaves a broken value behind."""
        if depth > _MAX_DEPTH:
            self.faults.append(f"{path}: nested too deeply")
            return BROKEN
        if isinstance(value, dict):
            return {
                key: self.fill(member, child(path, str(key)), depth + 1)
                for key, member in value.items()
            }
        if isinstance(value, list):
            return [
                self.fill(member, child(path, index), depth + 1)
                for index, member in enumerate(value)
            ]
        return self._text(value, path) if isinstance(value, str) else value

    def _text(self, text: str, path: str) -> object:
        variables = [match["name"] for match in _VARIABLE.finditer(text) if match["name"]]
        try:
            filled = interpolate(text, self.environ)
        except KeyError as fault:
            self.faults.append(f"{path}: {fault.args[0]}")
            return BROKEN
        return Text(filled, f"${{{variables[0]}}}") if variables else filled
