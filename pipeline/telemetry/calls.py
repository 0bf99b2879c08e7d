"""The span of a provider call, by the GenAI conventions: who was asked for what, what came back."""

from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from pipeline.catalog import Catalog
from pipeline.errors import ModelNotFound
from pipeline.event import Event, Facts, Line, Usage
from pipeline.telemetry import names
from pipeline.telemetry.spans import Moment, Span, Value

#: Ports that an address without one stands for.
_PORTS = {"http": 80, "https": 443}


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration tells of a deployment."""

    #: As the conventions name it.
    provider: str
    address: str = ""
    port: int = 0


class Content(msgspec.Struct, frozen=True):
    """A prompt and an answer as JSON, as much of them as is to be recorded."""

    prompt: str
    answer: str

    def added_to(self, span: Span) -> Span:
        """Record it in the span of the call that was answered."""
        told = {names.GEN_AI_INPUT: self.prompt, names.GEN_AI_OUTPUT: self.answer}
        said = {name: text for name, text in told.items() if text}
        return msgspec.structs.replace(span, attributes={**span.attributes, **said})


def known_by(catalog: Catalog) -> Callable[[str], Known]:
    """Give what tells of deployments by a configuration; one that has left it is known by name."""
    found: dict[str, Known] = {}

    def known(deployment: str) -> Known:
        if deployment not in found:
            found[deployment] = _look_up(catalog, deployment)
        return found[deployment]

    return known


def _look_up(catalog: Catalog, deployment: str) -> Known:
    name = deployment.partition("/")[0]
    try:
        provider = catalog.provider(catalog.deployment(deployment).provider)
    except ModelNotFound:
        return Known(provider=name)
    parts = urlsplit(provider.base_url)
    return Known(
        provider=names.PROVIDER_NAMES.get(provider.kind, name),
        address=parts.hostname or "",
        port=parts.port or _PORTS.get(parts.scheme, 0),
    )


def call_span(
    event: Event, line: Line, known: Callable[[str], Known], key: str, attempt: int
) -> Span:
    """Tell of the call in a line; its id, its parent and its bounds are the tree's to set.

    `key` is the public name of the provider key: never the key.
    """
    facts = line.facts
    deployment = str(facts.get("deployment", ""))
    model = deployment.partition("/")[2]
    start = float(facts.get("called_at", line.start))
    failed = "cause" in facts
    told = _asked(event, deployment, known(deployment), key)
    told |= {names.ATTEMPT: attempt, names.GEN_AI_MODEL: model}
    told |= _refused(facts) if failed else _answered(event, facts)
    moments: tuple[Moment, ...] = ()
    if "first_delta_ms" in facts:
        first_s = float(facts["first_delta_ms"]) / 1000
        told[names.GEN_AI_FIRST_CHUNK] = round(first_s, 6)
        moments = (Moment(names.FIRST_CHUNK_EVENT, start + first_s),)
    return Span(
        name=f"{event.operation} {model}",
        kind="client",
        id="",
        start=start,
        end=start + float(facts["call_ms"]) / 1000,
        attributes=told,
        error=str(told[names.ERROR_TYPE]) if failed else "",
        moments=moments,
    )


def _asked(event: Event, deployment: str, known: Known, key: str) -> dict[str, Value]:
    told: dict[str, Value] = {
        names.GEN_AI_OPERATION: event.operation,
        names.GEN_AI_PROVIDER: known.provider,
        names.GEN_AI_STREAM: event.stream,
        names.DEPLOYMENT: deployment,
    }
    if event.output_tokens:
        told[names.GEN_AI_MAX_TOKENS] = event.output_tokens
    if known.address:
        told[names.SERVER_ADDRESS] = known.address
        told[names.SERVER_PORT] = known.port
    if key_id := key.partition(":")[2]:
        told[names.KEY_ID] = key_id
    return told


def _refused(facts: Facts) -> dict[str, Value]:
    told: dict[str, Value] = {}
    status = int(facts.get("provider_status", 0))
    if status:
        told[names.HTTP_STATUS] = status
    if "rest_s" in facts:
        told[names.RETRY_AFTER] = round(float(facts["rest_s"]) * 1000)
    # A failure in a 200 or in a stream has no status that tells of it.
    told[names.ERROR_TYPE] = str(status) if status >= 400 else str(facts["cause"])
    return told


def _answered(event: Event, facts: Facts) -> dict[str, Value]:
    told: dict[str, Value] = {names.HTTP_STATUS: int(facts.get("status", 200))}
    for name, fact in (
        (names.GEN_AI_RESPONSE_ID, "upstream_id"),
        (names.GEN_AI_RESPONSE_MODEL, "model"),
    ):
        if fact in facts:
            told[name] = facts[fact]
    if event.finish_reason:
        told[names.GEN_AI_FINISH] = (event.finish_reason,)
    if "cost" in facts:
        told[names.COST] = facts["cost"]
    return told | (_used(event.usage) if event.usage else {})


def _used(usage: Usage) -> dict[str, Value]:
    told: dict[str, Value] = {
        names.GEN_AI_INPUT_TOKENS: usage.prompt_tokens,
        names.GEN_AI_OUTPUT_TOKENS: usage.completion_tokens,
    }
    optional = {
        names.GEN_AI_CACHE_READ: usage.cached_tokens,
        names.GEN_AI_CACHE_WRITE: usage.cache_write_tokens,
        names.GEN_AI_REASONING: usage.reasoning_tokens,
    }
    return told | {name: count for name, count in optional.items() if count}
