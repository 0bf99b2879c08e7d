"""Who pays: which providers the configuration calls, and in which order."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from rich.markup import escape

from pipeline.settings.load import ProviderSettings, Settings, is_loopback

#: Kinds that bill nobody wherever they run.
_FREE: Final = frozenset({"simulated", "ollama", "vllm"})


def billing(settings: Settings) -> Iterator[str]:
    """Write a line for each model, and one that tells which providers will be billed."""
    for name, model in settings.models.items():
        way = [f"{each.provider}/{each.model}" for each in model.deployments]
        way += [f"model {fallback}" for fallback in model.fallbacks]
        yield f"model [bold]{escape(name)}[/]: {escape(', then '.join(way))}"
    billed = [name for name, provider in settings.providers.items() if _bills(provider)]
    if billed:
        yield f"[bold yellow]{escape(', '.join(billed))} will be billed[/] for what is asked of it."
    else:
        yield "Nobody is billed: " + escape(_free_reason(settings))


def _bills(provider: ProviderSettings) -> bool:
    host = urlsplit(provider.base_url).hostname or ""
    return provider.kind not in _FREE and not is_loopback(host)


def _free_reason(settings: Settings) -> str:
    if settings.needs_simulator and len(settings.providers) == 1:
        return (
            "answers come from the simulated provider. Set OPENAI_API_KEY, or write a "
            "sluice.yaml, for real ones."
        )
    return f"{', '.join(settings.providers)} on your own machines."
