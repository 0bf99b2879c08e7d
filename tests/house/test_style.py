"""The measures of STYLE.md: sizes, docstrings, words and what may be caught."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator

import pytest

from tests.house.sources import PRODUCT, ROOT, TESTS, Source, read_sources, report

MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 50
MAX_NESTING = 3
#: Who may catch everything, and why.
CATCHES_ALL = {
    "pipeline/streams/engine.py": "what a hop raises is parked",
    "pipeline/streams/eager.py": "it throws all it catches into the coroutine that it drives",
}
BROAD = {"Exception", "BaseException", "everything"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
BANNER = re.compile(r"#\s*[-=*#~_]{3,}")
EMPTY_WORDS = re.compile(r"(^|_)(utils?|helpers?|common|misc|manager)(_|$)", re.IGNORECASE)
EMPTY_VERBS = re.compile(r"^_*(handle|process)_")
#: Names that a base class of another's prescribes.
PRESCRIBED = {"handle_request", "handle_async_request", "handle_error"}
MOCKS = re.compile(r"^(unittest\.mock|mock|pytest_mock)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Block = ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try | ast.Match
Fault = tuple[int, str]


def long_file(source: Source) -> Iterator[Fault]:
    length = len(source.text.splitlines())
    if length > MAX_FILE_LINES:
        yield length, f"{length} lines; a file stops at {MAX_FILE_LINES}"


def long_functions(source: Source) -> Iterator[Fault]:
    for node in source.nodes:
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {length} lines of {MAX_FUNCTION_LINES}"


def deep_nesting(source: Source) -> Iterator[Fault]:
    yield from _too_deep(source.tree, 0)


def _too_deep(node: ast.AST, depth: int) -> Iterator[Fault]:
    for child in ast.iter_child_nodes(node):
        # An elif is an If alone in its parent's orelse: it stands beside, not inside.
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        if isinstance(child, Named):
            below = 0
        else:
            below = depth + (isinstance(child, Block) and not is_elif)
        if below > MAX_NESTING and below > depth:
            yield child.lineno if isinstance(child, ast.stmt) else 0, f"nested {below} deep"
        else:
            yield from _too_deep(child, below)


def missing_docstring(source: Source) -> Iterator[Fault]:
    if not (ast.get_docstring(source.tree) or "").strip():
        yield 1, "the module says nothing of what it holds"


def fat_package(source: Source) -> Iterator[Fault]:
    if source.is_package and len(source.tree.body) > 1:
        yield source.tree.body[1].lineno, "a package holds its docstring alone"


def bad_comments(source: Source) -> Iterator[Fault]:
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type != tokenize.COMMENT:
            continue
        if UNFINISHED.search(token.string):
            yield token.start[0], "unfinished work belongs in an issue"
        if BANNER.match(token.string):
            yield token.start[0], "a banner: make it a file of its own"


def broad_excepts(source: Source) -> Iterator[Fault]:
    if source.path in CATCHES_ALL:
        return
    for node in source.nodes:
        # One that ends in a bare raise tidies up and catches nothing.
        if isinstance(node, ast.ExceptHandler) and not _raises_again(node):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {"everything" if each is None else ast.unparse(each) for each in caught}
            for name in names & BROAD:
                yield node.lineno, f"catches {name}; only {' and '.join(CATCHES_ALL)} may"


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def empty_names(source: Source) -> Iterator[Fault]:
    if EMPTY_WORDS.search(source.module.rpartition(".")[2]):
        yield 1, "the file's name does not say what it holds"
    for node in source.nodes:
        if isinstance(node, Named) and _is_empty_name(node):
            yield node.lineno, f"{node.name}: a name from the glossary says more"


def _is_empty_name(node: Named) -> bool:
    if isinstance(node, ast.ClassDef):
        return bool(re.search(r"(Manager|Helper|Utils?)$", node.name))
    return bool(EMPTY_VERBS.match(node.name)) and node.name not in PRESCRIBED


def mocks(source: Source) -> Iterator[Fault]:
    for name, line in source.imports():
        if MOCKS.match(name):
            yield line, f"{name}: real Redis, real sockets, real processes"


EVERYWHERE: list[Callable[[Source], Iterator[Fault]]] = [
    long_file,
    missing_docstring,
    fat_package,
    bad_comments,
    broad_excepts,
    empty_names,
    mocks,
]
IN_THE_PRODUCT: list[Callable[[Source], Iterator[Fault]]] = [long_functions, deep_nesting]


def check(rule: Callable[[Source], Iterator[Fault]], sources: list[Source]) -> None:
    report([f"{source.path}:{line} {what}" for source in sources for line, what in rule(source)])


@pytest.mark.parametrize("rule", EVERYWHERE, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Callable[[Source], Iterator[Fault]]) -> None:
    check(rule, read_sources(*PRODUCT, *TESTS))


@pytest.mark.parametrize("rule", IN_THE_PRODUCT, ids=lambda rule: rule.__name__)
def test_the_product_keeps_the_rule(rule: Callable[[Source], Iterator[Fault]]) -> None:
    check(rule, read_sources(*PRODUCT))


def test_scripts_stay_short() -> None:
    scripts = [path for folder in PRODUCT for path in (ROOT / folder).rglob("*.lua")]
    lengths = {str(path): len(path.read_text().splitlines()) for path in scripts}
    assert not {path: length for path, length in lengths.items() if length > MAX_FILE_LINES}


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {(ROOT / source.path).parent for source in read_sources(*PRODUCT, *TESTS)}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (long_file, "\n" * 351),
        (long_functions, "def f():\n" + "    x = 1\n" * 50),
        (deep_nesting, "if a:\n for b in c:\n  with d:\n   if e:\n    f()"),
        (missing_docstring, '""""""'),
        (bad_comments, "# TO" + "DO: later"),
        (bad_comments, "# ---- part two"),
        (broad_excepts, "try:\n    f()\nexcept (OSError, Exception):\n    pass"),
        (broad_excepts, "try:\n    f()\nexcept:\n    pass"),
        (empty_names, "def handle_it(): ..."),
        (mocks, "from unittest import mock"),
    ],
)
def test_a_broken_rule_is_found(rule: Callable[[Source], Iterator[Fault]], text: str) -> None:
    assert len(list(rule(Source("pipeline/sample.py", text)))) == 1


def test_a_chain_of_elifs_is_one_level() -> None:
    chain = "if a:\n b()\nelif c:\n d()\nelif e:\n f()\nelif g:\n h()\nelif i:\n j()"
    assert list(deep_nesting(Source("pipeline/sample.py", chain))) == []
