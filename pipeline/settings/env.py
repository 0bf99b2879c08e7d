"""What environment variables configure: `SLUICE_…` overrides, and providers by their own names.

Both are written in the file's form, as a tree, and decoded with it.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from pipeline.settings.decode import Text, near
from pipeline.settings.file import Tree
from pipeline.settings.schema import Sections

PREFIX: Final = "SLUICE_"

_SHORT: Final[Mapping[str, str]] = {
    "SLUICE_REDIS_URL": "redis.url",
    "SLUICE_NAMESPACE": "redis.namespace",
    "SLUICE_HOST": "gateway.host",
    "SLUICE_PORT": "gateway.port",
}
#: Kubernetes sets these in every pod beside a service that is named `sluice`.
_KUBERNETES: Final = re.compile(r"SLUICE_(?:SERVICE_(?:HOST|PORT.*)|PORT_\d+_(?:TCP|UDP).*)")

#: What `fast` and `quality` are at each provider, in the order in which they fall back.
_MODELS: Final[Mapping[str, tuple[str, str]]] = {
    "openai": ("gpt-4o-mini", "gpt-4o"),
    "openrouter": ("google/gemini-2.5-flash", "google/gemini-2.5-pro"),
    # Ollama serves what has been pulled; two models are one too many to expect.
    "ollama": ("qwen3:8b", "qwen3:8b"),
    "simulated": ("fast", "quality"),
}
_NOT_SERVED: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY",),
    "azure": ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
}


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
    if name == "SLUICE_CONFIG" or name.startswith("SLUICE_TEST_"):
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


def providers(environ: Mapping[str, str]) -> tuple[Tree, list[str]]:
    """Give the tree that provider variables stand for, and a line for each left out."""
    env = {name: Text(text.strip(), name) for name, text in environ.items() if text.strip()}
    found = {
        name: {**tree, "kind": name, "any_model": True}
        for name, tree in (
            ("openai", _openai(env)),
            ("openrouter", _openrouter(env)),
            ("ollama", _ollama(env)),
        )
        if tree
    } or {"simulated": {"kind": "simulated", "any_model": True}}
    tree: Tree = {"providers": found, "models": _models(list(found), env)}
    if "QUEUE_RETRY_DELAYS" in env:
        tree["ladder"] = env["QUEUE_RETRY_DELAYS"]
    return tree, list(_left_out(env))


def _openai(env: Mapping[str, Text]) -> Tree:
    if "OPENAI_API_KEY" not in env:
        return {}
    names = {"rpm": "LLM_RPM", "tpm": "LLM_TPM"}
    limits = {key: env[name] for key, name in names.items() if name in env}
    base = {"base_url": env["OPENAI_BASE_URL"]} if "OPENAI_BASE_URL" in env else {}
    return {"keys": [env["OPENAI_API_KEY"]], "limits": limits, **base}


def _openrouter(env: Mapping[str, Text]) -> Tree:
    keys: dict[str, Text] = {}
    for name in ("OPENROUTER_API_KEYS", "OPENROUTER_API_KEY"):
        for part in env.get(name, "").split(","):
            keys.setdefault(part.strip(), Text(part.strip(), name))
    keys.pop("", None)
    limit = {"rpm": env["KEYS_MAX_PER_MINUTE"]} if "KEYS_MAX_PER_MINUTE" in env else {}
    name = "KEYS_COOLDOWN_SECONDS"
    cooldown = {"cooldown_s": env[name]} if name in env else {}
    return {"keys": list(keys.values()), "limits": limit, **cooldown} if keys else {}


def _ollama(env: Mapping[str, Text]) -> Tree:
    if "OLLAMA_HOST" not in env:
        return {}
    return {"base_url": Text(_ollama_url(env["OLLAMA_HOST"]), "OLLAMA_HOST")}


def _ollama_url(host: str) -> str:
    """Read Ollama's own forms: `host`, `host:port` or a URL, and 0.0.0.0 for any address."""
    try:
        parts = urlsplit(host if "://" in host else f"http://{host}")
        port = parts.port
    except ValueError:
        return host  # no address: that is the fault, and is told
    place = parts.netloc if "://" in host or port else f"{parts.netloc}:11434"
    if parts.hostname == "0.0.0.0":  # noqa: S104 - what its server listens on, and no place to call
        place = place.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    return f"{parts.scheme}://{place}{parts.path.rstrip('/') or '/v1'}"


def _models(names: list[str], env: Mapping[str, Text]) -> Tree:
    """Map `fast` and `quality` to the providers that are there, in their order."""
    table = dict(_MODELS)
    if "OPENROUTER_MODEL" in env:
        table["openrouter"] = (env["OPENROUTER_MODEL"], env["OPENROUTER_MODEL"])
    return {
        model: {"deployments": [{"provider": name, "model": table[name][place]} for name in names]}
        for place, model in enumerate(("fast", "quality"))
    }


def _left_out(env: Mapping[str, Text]) -> Iterator[str]:
    for kind, names in _NOT_SERVED.items():
        given = [name for name in names if name in env]
        if given:
            yield f"{given[0]}: {kind} is not served by this version yet; it is left out"
