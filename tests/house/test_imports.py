"""Who may import whom: the direction of STYLE.md, as data, and the walk that holds it."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import pytest

from tests.house.sources import PRODUCT, Source, read_sources, report

HOPS = ["workers.route*", "workers.gate*", "workers.call*", "workers.respond*"]

#: From the ground up; a module belongs to the first pattern that fits and imports no higher layer.
LAYERS: Mapping[str, Sequence[str]] = {
    "vocabulary": [
        f"pipeline.{name}*"
        for name in (
            "event",
            "outcome",
            "about",
            "passage",
            "tracing",
            "errors",
            "names",
            "clock",
            "listening",
            "content",
            "needs",
            "preferences",
            "polite",
            "limits.seen",
            "limits.estimate",
        )
    ],
    "knowledge": [
        f"pipeline.{name}*"
        for name in (
            "settings",
            "importing",
            "catalog",
            "companions",
            "current",
            "decision",
            "ladder",
            "flow",
            "times",
            "prices",
            "summary",
        )
    ],
    "means": [
        "pipeline.embedded*",
        "pipeline.streams*",
        "pipeline.limits*",
        "pipeline.telemetry*",
        "workers.providers*",
    ],
    "hops": [
        *HOPS,
        "workers.deadline*",
        "workers.remedy*",
        "workers.settling*",
        "workers.costing*",
        "workers.continuing*",
        "workers.request*",
    ],
    "hosts": ["gateway*", "workers*", "pipeline.cli*", "pipeline.client*", "pipeline.webhooks*"],
}

#: Families of one layer do not know each other.
FAMILIES = [*LAYERS["means"], *HOPS]
#: The exceptions, each with a reason.
SIDEWAYS = {
    ("pipeline.limits*", "pipeline.streams*"),  # admission is a script on the same connection
}

#: These two meet in streams.
STRANGERS = [("gateway*", "workers*"), ("workers*", "gateway*")]

_PROVIDER_CALLS = ["workers.providers*", "pipeline.client*", "*webhook*"]

#: Where a library may be imported; one that is not named here may be imported anywhere.
ROOMS: Mapping[str, Sequence[str]] = {
    "starlette": ["gateway*", "workers.providers.simulated*"],
    "dramatiq": ["pipeline.streams.broker*", "pipeline.streams.queues*", "workers*"],
    "httpx": _PROVIDER_CALLS,
    "httpx_aiohttp": _PROVIDER_CALLS,
    "aiohttp": _PROVIDER_CALLS,
    "typer": ["pipeline.cli*"],
    "rich": ["pipeline.cli*"],
    "opentelemetry": ["pipeline.telemetry*"],
    "genai_prices": ["pipeline.prices"],
    "prometheus_client": ["pipeline.telemetry*"],
    "time": ["pipeline.clock"],
    "random": ["pipeline.clock"],
    # Tokens must not be guessable, and the clock's chance is: a test may seed it.
    "secrets": ["pipeline.settings.secret"],
    "uuid": ["pipeline.clock"],
}

#: Where a name of the standard library may be used.
NAMES: Mapping[str, Sequence[str]] = {
    "os.environ": ["pipeline.settings*"],
    "os.environb": ["pipeline.settings*"],
    "os.getenv": ["pipeline.settings*"],
    "os.putenv": ["pipeline.settings*"],
    "os.urandom": ["pipeline.clock"],
    "datetime.now": ["pipeline.clock"],
    "datetime.utcnow": ["pipeline.clock"],
    "datetime.today": ["pipeline.clock"],
    "date.today": ["pipeline.clock"],
}


def first_fit(module: str, patterns: Iterable[str]) -> str | None:
    return next((pattern for pattern in patterns if fnmatchcase(module, pattern)), None)


def layer_of(module: str) -> tuple[int, str] | None:
    for height, (layer, patterns) in enumerate(LAYERS.items()):
        if first_fit(module, patterns):
            return height, layer
    return None


def is_ours(name: str) -> bool:
    return name.partition(".")[0] in PRODUCT


def faults(source: Source) -> list[str]:
    """List what is wrong with one file's imports and its use of guarded names."""
    found = [
        f"{source.path}:{line} imports {name}: {fault}"
        for name, line in source.imports()
        for fault in (_own_faults if is_ours(name) else _foreign_faults)(source.module, name)
    ]
    return found + [
        f"{source.path}:{node.lineno} uses {name}: it belongs in {' and '.join(NAMES[name])}"
        for node in source.nodes
        if isinstance(node, ast.Attribute)
        for name in [f"{ast.unparse(node.value).rpartition('.')[2]}.{node.attr}"]
        if name in NAMES and not first_fit(source.module, NAMES[name])
    ]


def _own_faults(module: str, name: str) -> list[str]:
    here, there = layer_of(module), layer_of(name)
    if here is None or there is None:
        return []
    found = []
    if there[0] > here[0]:
        found.append(f"{here[1]} may not reach up to {there[1]}")
    for one, other in STRANGERS:
        if fnmatchcase(module, one) and fnmatchcase(name, other):
            found.append("gateway and workers meet in streams, never in imports")
    family, other_family = first_fit(module, FAMILIES), first_fit(name, FAMILIES)
    sideways = here == there and family != other_family
    if sideways and family and other_family and (family, other_family) not in SIDEWAYS:
        found.append(f"{family} and {other_family} are families that do not know each other")
    return found


def _foreign_faults(module: str, name: str) -> list[str]:
    guarded = [(name, NAMES[name])] if name in NAMES else []
    library = name.partition(".")[0]
    if library in ROOMS:
        guarded.append((library, ROOMS[library]))
    return [
        f"{what} belongs in {' and '.join(rooms)}"
        for what, rooms in guarded
        if not first_fit(module, rooms)
    ]


def cycle_of(sources: Sequence[Source]) -> list[str]:
    """Give the modules of one import cycle, each importing the next; empty: there is none."""
    modules = {source.module for source in sources}
    graph = {
        source.module: {
            target
            for name, _ in source.imports()
            for target in (name, name.rpartition(".")[0])
            if target in modules and target != source.module
        }
        for source in sources
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


@pytest.fixture(scope="module")
def product() -> list[Source]:
    return read_sources(*PRODUCT)


def test_every_module_has_a_layer(product: list[Source]) -> None:
    homeless = [s.path for s in product if not s.is_package and layer_of(s.module) is None]
    report([f"{path}: give it a layer in tests/house/test_imports.py" for path in homeless])


def test_imports_point_down_and_stay_in_their_rooms(product: list[Source]) -> None:
    found = [fault for source in product for fault in faults(source)]
    report(found)


def test_no_modules_import_each_other_in_a_cycle(product: list[Source]) -> None:
    cycle = cycle_of(product)
    report([f"{one} imports {other}: part of a cycle" for one, other in pairwise(cycle)])


def test_packages_import_nothing(product: list[Source]) -> None:
    found = [
        f"{source.path}:{line} imports {name}: a package holds its docstring alone"
        for source in [*product, *read_sources("tests")]
        if source.is_package
        for name, line in source.imports()
    ]
    report(found)


@pytest.mark.parametrize(
    ("path", "text", "rule"),
    [
        ("gateway/app.py", "from workers.providers import base", "meet in streams"),
        ("workers/app.py", "def f():\n    import gateway.app", "meet in streams"),
        ("pipeline/event.py", "import pipeline.settings", "vocabulary may not reach up"),
        ("pipeline/streams/engine.py", "from workers import route", "means may not reach up"),
        ("pipeline/streams/engine.py", "from ..limits import leases", "do not know each other"),
        ("workers/gate.py", "from workers.call import call", "do not know each other"),
        ("workers/providers/openai.py", "from starlette.types import Send", "starlette belongs in"),
        ("pipeline/streams/engine.py", "import dramatiq", "dramatiq belongs in"),
        ("gateway/app.py", "import time", "time belongs in"),
        ("gateway/app.py", "from os import environ", "os.environ belongs in"),
        ("gateway/app.py", "import os\nx = os.environ.get('A')", "it belongs in pipeline.settings"),
        ("gateway/app.py", "import datetime as d\nx = d.datetime.now()", "it belongs in"),
    ],
)
def test_a_broken_rule_is_named_with_its_file_and_import(path: str, text: str, rule: str) -> None:
    (fault,) = faults(Source(path, text))
    assert fault.startswith(f"{path}:")
    assert rule in fault


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("pipeline/cli.py", "import typer, gateway.app, workers.app"),
        ("workers/route.py", "import dramatiq\nfrom pipeline.catalog import Catalog"),
        ("pipeline/limits/admission.py", "from pipeline.streams.scripts import Script"),
        ("workers/providers/simulated/app.py", "from starlette.routing import Route"),
        ("pipeline/settings.py", "import os\nx = os.environ"),
    ],
)
def test_an_import_in_its_room_is_no_fault(path: str, text: str) -> None:
    assert faults(Source(path, text)) == []


def test_a_cycle_is_found() -> None:
    one = Source("pipeline/streams/one.py", "from pipeline.streams.two import x")
    two = Source("pipeline/streams/two.py", "def f():\n    from . import one")
    assert set(cycle_of([one, two])) == {one.module, two.module}
    assert cycle_of([one]) == []
