"""The product's and the tests' own source files, parsed for the rules of the house."""

import ast
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("pipeline", "gateway", "workers")
TESTS = ("tests",)


class Source:
    """One file: its path from the root, its module's name, its text and its tree."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.is_package = path.endswith("/__init__.py")
        self.module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @cached_property
    def tree(self) -> ast.Module:
        """Give the parsed file."""
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """List all nodes of the tree."""
        return list(ast.walk(self.tree))

    def imports(self) -> Iterator[tuple[str, int]]:
        """Name every import with its line, `from a import b` as `a.b`, also inside functions."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                yield from ((f"{origin}.{alias.name}", node.lineno) for alias in node.names)

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.module.split(".")
        package = package[: len(package) - node.level + self.is_package]
        return ".".join([*package, *([node.module] if node.module else [])])


def read_sources(*folders: str) -> list[Source]:
    """Read every Python file below the folders."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [_read(path) for path in paths]


@cache
def _read(path: Path) -> Source:
    """Read a file once for all rules: parsing all of them takes 3 s."""
    return Source(str(path.relative_to(ROOT)), path.read_text())


def report(faults: list[str]) -> None:
    """Fail with the faults, one a line and nothing else; pass when there are none."""
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)
