"""`sluice import`: writes another system's configuration as ours, and tells what is lost."""

import sys
from pathlib import Path
from typing import Literal

import msgspec

from pipeline.errors import StartError
from pipeline.importing import litellm, llm_queue, source
from pipeline.importing.source import Format
from pipeline.importing.told import Imported, Remark, Variable
from pipeline.importing.trying import tried
from pipeline.importing.written import as_text, as_yaml
from pipeline.settings.file import Tree


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be imported, and where to."""

    file: Path
    origin: Literal["llm-queue", "litellm", "auto"] = "auto"
    #: None: stdout.
    output: Path | None = None
    force: bool = False
    as_json: bool = False


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What is printed with --json."""

    source: str
    format: Format
    settings: Tree
    variables: list[Variable]
    unmatched: list[Remark]
    differing: list[Remark]


def run(asked: Asked) -> None:
    """Print the configuration, or write it; what there is to say of it goes to stderr.

    Raises `StartError` for a source that cannot be read or taken over, and for a file that is
    there already.
    """
    if asked.output and asked.output.exists() and not asked.force:
        raise StartError(f"{asked.output}: it is there already; --force writes over it")
    tree = source.read(asked.file)
    known = source.format_of(tree, asked.file) if asked.origin == "auto" else asked.origin
    imported = _read(asked.file, known, tree)
    text = as_yaml(imported, f"{asked.file.name} ({source.TITLES[known]})")
    _, faults = tried(text, imported.samples)
    if faults:
        raise StartError(_refused(asked.file, imported, faults))
    if asked.output:
        _write(asked.output, text)
    if asked.as_json:
        print(msgspec.json.encode(_told(asked, known, imported)).decode())
        return
    if not asked.output:
        # Flushed, so that a terminal shows both in this order.
        print(text, end="", flush=True)
    print(_summary(asked, known, imported), file=sys.stderr)


def _read(file: Path, known: Format, tree: Tree) -> Imported:
    readers = {"llm-queue": llm_queue.read, "litellm": litellm.read}
    try:
        return readers[known](tree)
    except StartError as error:
        raise StartError(f"{file}: {error.message}") from None


def _refused(file: Path, imported: Imported, faults: list[str]) -> str:
    """Say why the result would not load, and what of the source that may come from."""
    lines = "\n".join(f"  {fault}" for fault in faults)
    said = as_text(imported)
    return f"{file}: what it becomes is not valid; mend the source:\n{lines}\n\n{said}".rstrip()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartError(f"{path}: cannot be written: {error.strerror}") from None


def _told(asked: Asked, known: Format, imported: Imported) -> Told:
    return Told(
        source=str(asked.file),
        format=known,
        settings=imported.settings,
        variables=imported.variables,
        unmatched=imported.unmatched,
        differing=imported.differing,
    )


def _summary(asked: Asked, known: Format, imported: Imported) -> str:
    models, providers = (_size(imported.settings, key) for key in ("models", "providers"))
    place = f"written to {asked.output}" if asked.output else "above"
    lines = [
        as_text(imported),
        f"{asked.file} ({source.TITLES[known]}): models: {models}, providers: {providers}, "
        f"{place}; {len(imported.unmatched)} lost, {len(imported.differing)} different, "
        f"{len(imported.variables)} variables to set. Then: sluice check",
    ]
    return "\n\n".join(line for line in lines if line)


def _size(settings: Tree, key: str) -> int:
    section = settings.get(key)
    return len(section) if isinstance(section, dict) else 0
