"""What variables by other names configure: providers by those of their own clients, and the seeds'.

They are written in the file's form, as a tree, and decoded with it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from pipeline.settings.decode import Text
from pipeline.settings.file import Tree

Env = Mapping[str, Text]

#: What `fast` and `quality` are at each provider. Azure's portal names a deployment as its model.
_MODELS: Final[Mapping[str, tuple[str, str]]] = {
    "openai": ("gpt-4o-mini", "gpt-4o"),
    "anthropic": ("claude-haiku-5-5", "claude-sonnet-5-5"),
    "gemini": ("gemini-3.5-flash-lite", "gemini-3.5-flash"),
    "openrouter": ("google/gemini-2.5-flash", "google/gemini-2.5-pro"),
    "azure": ("gpt-4o-mini", "gpt-4o"),
    # Ollama serves what has been pulled; two models are one too many to expect.
    "ollama": ("qwen3:8b", "qwen3:8b"),
    "simulated": ("fast", "quality"),
}
#: Variables that name one model for both, the first that is set.
_ONE_MODEL: Final[Mapping[str, tuple[str, ...]]] = {
    "openrouter": ("OPENROUTER_MODEL",),
    "azure": ("AZURE_OPENAI_DEPLOYMENT", "AZURE_OPENAI_DEPLOYMENT_NAME"),
}


def providers(environ: Mapping[str, str]) -> tuple[Tree, list[str]]:
    """Give the tree that provider variables stand for, and a line for each left out."""
    env = {name: Text(text.strip(), name) for name, text in environ.items() if text.strip()}
    found = {
        name: {**told, "kind": name, "any_model": True}
        for name, read in _PROVIDERS.items()
        if (told := read(env))
    } or {"simulated": {"kind": "simulated", "any_model": True}}
    tree: Tree = {"providers": found, "models": _models(list(found), env)}
    if "QUEUE_RETRY_DELAYS" in env:
        tree["ladder"] = env["QUEUE_RETRY_DELAYS"]
    return tree, list(_left_out(env))


def _openai(env: Env) -> Tree:
    if "OPENAI_API_KEY" not in env:
        return {}
    limits = _named(env, rpm="LLM_RPM", tpm="LLM_TPM")
    return {
        "keys": [env["OPENAI_API_KEY"]],
        "limits": limits,
        **_named(env, base_url="OPENAI_BASE_URL"),
    }


def _anthropic(env: Env) -> Tree:
    if "ANTHROPIC_API_KEY" not in env:
        return {}
    return {"keys": [env["ANTHROPIC_API_KEY"]], **_named(env, base_url="ANTHROPIC_BASE_URL")}


def _gemini(env: Env) -> Tree:
    key = env.get("GEMINI_API_KEY") or env.get("GOOGLE_API_KEY")
    return {"keys": [key]} if key else {}


def _openrouter(env: Env) -> Tree:
    keys: dict[str, Text] = {}
    for name in ("OPENROUTER_API_KEYS", "OPENROUTER_API_KEY"):
        for part in env.get(name, "").split(","):
            keys.setdefault(part.strip(), Text(part.strip(), name))
    keys.pop("", None)
    headers = _named(
        env, **{"HTTP-Referer": "OPENROUTER_SITE_URL", "X-Title": "OPENROUTER_SITE_NAME"}
    )
    return (
        {
            "keys": list(keys.values()),
            "limits": _named(env, rpm="KEYS_MAX_PER_MINUTE"),
            "headers": headers,
            **_named(env, cooldown_s="KEYS_COOLDOWN_SECONDS", proxy="HTTP_PROXY"),
        }
        if keys
        else {}
    )


def _azure(env: Env) -> Tree:
    if "AZURE_OPENAI_API_KEY" not in env or "AZURE_OPENAI_ENDPOINT" not in env:
        return {}
    version = env.get("AZURE_OPENAI_API_VERSION") or env.get("OPENAI_API_VERSION")
    return {
        "base_url": env["AZURE_OPENAI_ENDPOINT"],
        "keys": [env["AZURE_OPENAI_API_KEY"]],
        **({"api_version": version} if version else {}),
    }


def _ollama(env: Env) -> Tree:
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


#: In the order in which they fall back.
_PROVIDERS: Final[Mapping[str, Callable[[Env], Tree]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "openrouter": _openrouter,
    "azure": _azure,
    "ollama": _ollama,
}


def _named(env: Env, **names: str) -> Tree:
    """Give the settings whose variables are set."""
    return {key: env[name] for key, name in names.items() if name in env}


def _models(names: list[str], env: Env) -> Tree:
    """Map `fast` and `quality` to the providers that are there, in their order."""
    table: dict[str, tuple[str, str]] = dict(_MODELS)
    for provider, variables in _ONE_MODEL.items():
        model = next((env[name] for name in variables if name in env), None)
        if model is not None:
            table[provider] = (model, model)
    return {
        model: {"deployments": [{"provider": name, "model": table[name][place]} for name in names]}
        for place, model in enumerate(("fast", "quality"))
    }


def _left_out(env: Env) -> Iterator[str]:
    pair = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT")
    missing = [name for name in pair if name not in env]
    if len(missing) == 1:
        given = next(name for name in pair if name in env)
        yield f"{given}: azure is left out, since {missing[0]} is not set"
