"""A source: reads its file into plain values, and tells which system's it is."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final, Literal

from pipeline.errors import StartError
from pipeline.settings.file import Tree, parse

Format = Literal["llm-queue", "litellm"]

#: What each system is called, and the keys of which its files have at least one.
TITLES: Final[Mapping[Format, str]] = {"llm-queue": "LLM Queue", "litellm": "LiteLLM"}
MARKS: Final[Mapping[Format, tuple[str, ...]]] = {
    "llm-queue": ("azure_open_ai", "scheduler_limits", "user_limits", "custom_models"),
    "litellm": ("model_list", "litellm_settings", "router_settings", "general_settings"),
}
#: Deeper than any of these files; what is deeper is an anchor that holds itself.
_MAX_DEPTH: Final = 30


def read(path: Path) -> Tree:
    """Read a file. Raises `StartError`, which never quotes the file."""
    parsed, fault = parse(path)
    if fault:
        advice = "" if fault.startswith("cannot be read") else "; mend the file and try again"
        raise StartError(f"{path}: {fault}{advice}")
    if not isinstance(parsed, Mapping):
        expected = " or ".join(f"{MARKS[name][0]} ({title})" for name, title in TITLES.items())
        what = "it is empty" if parsed is None else f"it holds a {type(parsed).__name__}"
        raise StartError(f"{path}: expected a mapping with {expected} at the top, but {what}")
    plain = _plain(parsed, path)
    assert isinstance(plain, dict)
    return plain


def format_of(tree: Mapping[str, object], path: Path) -> Format:
    """Tell whose file it is. Raises `StartError` with what was expected."""
    found = [name for name, marks in MARKS.items() if any(mark in tree for mark in marks)]
    if len(found) == 1:
        return found[0]
    if found:
        raise StartError(
            f"{path}: it has keys of {' and '.join(TITLES[name] for name in found)}; "
            f"say which it is with --from {' or --from '.join(found)}"
        )
    keys = ", ".join(sorted(map(str, tree))[:6]) or "none"
    expected = "; ".join(f"{TITLES[name]} has {', '.join(marks)}" for name, marks in MARKS.items())
    raise StartError(
        f"{path}: neither LLM Queue's nor LiteLLM's: {expected}; it has {keys}. Give the YAML that "
        "the system itself is started with"
    )


def _plain(value: object, path: Path, depth: int = 0) -> object:
    """Copy a value with text for keys, and dates as they were written."""
    if depth > _MAX_DEPTH:
        raise StartError(f"{path}: nested too deeply; an anchor may hold itself")
    if isinstance(value, Mapping):
        return {str(key): _plain(member, path, depth + 1) for key, member in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(member, path, depth + 1) for member in value]
    return value.isoformat() if isinstance(value, date) else value
