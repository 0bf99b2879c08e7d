"""What `SLUICE_…` variables configure: they override, by dotted path, what the file says.

They are written in the file's form, as a tree, and decoded with it; so are the variables by which
providers are configured (`env_providers`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from pipeline.settings.decode import Text, near
from pipeline.settings.file import Tree
from pipeline.settings.schema import Sections

PREFIX: Final = "SLUICE_"
#: What a supervisor calls a child of its; no setting.
PART: Final = "SLUICE_PART"

#: The listening socket that a supervisor hands to a child for its metrics, by its number.
METRICS_FD: Final = "SLUICE_METRICS_FD"
#: Set by hand, it lets a worker serve its metrics that has no supervisor.
METRICS_PORT: Final = "SLUICE_TELEMETRY__METRICS_PORT"

_SHORT: Final[Mapping[str, str]] = {
    "SLUICE_REDIS_URL": "redis.url",
    "SLUICE_NAMESPACE": "redis.namespace",
    "SLUICE_HOST": "gateway.host",
    "SLUICE_PORT": "gateway.port",
}
#: Kubernetes sets these in every pod beside a service that is named `sluice`.
_KUBERNETES: Final = re.compile(r"SLUICE_(?:SERVICE_(?:HOST|PORT.*)|PORT_\d+_(?:TCP|UDP).*)")


def variables(environ: Mapping[str, str]) -> tuple[list[tuple[str, Text]], list[str]]:
    """Give the overrides in `SLUICE_…` variables by dotted path, and a fault for each unknown."""
    known, faults = [], []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or not environ[name] or _is_foreign(name, environ[name]):
            continue
        path = _SHORT.get(name) or name.removeprefix(PREFIX).lower().replace("__", ".")
        if path.split(".")[0] in Sections.__struct_fields__:
            known.append((path, Text(environ[name], name)))
        else:
            faults.append(f"{name}: unknown variable{near(name, _known())}")
    return known, faults


def _is_foreign(name: str, value: str) -> bool:
    """Tell variables that share the prefix and say nothing about the configuration."""
    if name in ("SLUICE_CONFIG", PART, METRICS_FD) or name.startswith("SLUICE_TEST_"):
        return True
    return bool(_KUBERNETES.fullmatch(name)) or (name == "SLUICE_PORT" and "://" in value)


def _known() -> Iterator[str]:
    yield from (*_SHORT, "SLUICE_CONFIG", "SLUICE_LADDER")
    for section in msgspec.structs.fields(Sections):
        if isinstance(section.type, type) and issubclass(section.type, msgspec.Struct):
            for key in section.type.__struct_fields__:
                yield f"{PREFIX}{section.name}__{key}".upper()


def put(tree: Tree, path: str, text: Text) -> None:
    """Set one value by its dotted path, matching names as a variable can spell them."""
    node = tree
    *sections, last = path.split(".")
    for part in sections:
        inner = node.setdefault(_spelt(node, part), {})
        if inner is None:
            inner = node[_spelt(node, part)] = {}
        if not isinstance(inner, dict):
            return  # the section is no mapping: that is the fault, and is told
        node = inner
    node[_spelt(node, last)] = text


def _spelt(node: Tree, part: str) -> str:
    same = (key for key in node if re.sub(r"\W", "_", str(key)).lower() == part.lower())
    return part if part in node else next(same, part)
