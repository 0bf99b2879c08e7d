"""Imports a source as the command does, and loads what it becomes."""

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import yaml

from pipeline.importing import litellm, llm_queue, source
from pipeline.importing.told import Imported
from pipeline.importing.trying import tried
from pipeline.importing.written import as_yaml
from pipeline.settings.file import Tree
from pipeline.settings.load import ModelSettings, Settings

LITELLM = Path(__file__).parent / "litellm"


class Result(msgspec.Struct, frozen=True):
    """The import, the file that it writes, and the settings that it loads as."""

    imported: Imported
    text: str
    settings: Settings

    def model(self, name: str) -> ModelSettings:
        return self.settings.models[name]

    def lost(self) -> list[str]:
        return [str(remark) for remark in self.imported.unmatched]

    def differing(self) -> list[str]:
        return [str(remark) for remark in self.imported.differing]

    def variables(self) -> list[str]:
        return [variable.name for variable in self.imported.variables]

    def written(self) -> dict[str, object]:
        return dict(yaml.safe_load(self.text))


def from_litellm(text: str) -> Result:
    return _result(litellm.read(tree_of(text)))


def from_llm_queue(text: str) -> Result:
    return _result(llm_queue.read(tree_of(text)))


def from_example(name: str) -> Result:
    """Import one of the LiteLLM files beside this."""
    return _result(litellm.read(source.read(LITELLM / f"{name}.yaml")))


def tree_of(text: str) -> Tree:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "source.yaml"
        path.write_text(text)
        return source.read(path)


def _result(imported: Imported) -> Result:
    text = as_yaml(imported, "a test")
    settings, faults = tried(text, imported.samples)
    assert settings is not None, faults
    return Result(imported, text, settings)
