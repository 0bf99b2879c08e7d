"""What a call cost, and where that is told: in its usage, its line of the journal and its event."""

from typing import Final

import msgspec

from pipeline import prices
from pipeline.catalog import Catalog
from pipeline.event import Event, Facts, Usage
from pipeline.limits.tickets import Settlement
from pipeline.outcome import Outcome
from pipeline.prices import Price
from workers.providers.assembly import usage_of
from workers.providers.base import Reply


class _Body(msgspec.Struct, frozen=True):
    usage: msgspec.Raw = msgspec.Raw(b"")


_usage_within: Final = msgspec.json.Decoder(_Body).decode
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_counts: Final = msgspec.json.Decoder(dict[str, object]).decode
_encode: Final = msgspec.json.Encoder().encode


def price_of(event: Event, catalog: Catalog) -> Price | None:
    """Give the price of the deployment that an event has a lease on; none: unknown."""
    if event.lease is None:
        return None
    deployment = catalog.deployment(event.lease.deployment)
    return prices.price(catalog.provider(deployment.provider), deployment)


def priced(reply: Reply, price: Price | None) -> Reply:
    """Tell a reply's cost in its usage, in the body too; the provider's own word stands."""
    usage = reply.usage
    if usage is None or usage.cost is not None or price is None or price.own:
        return reply
    cost = prices.cost_of(price, usage)
    return msgspec.structs.replace(
        reply,
        response=with_cost(reply.response, cost),
        usage=msgspec.structs.replace(usage, cost=cost),
    )


def chunk_priced(chunk: bytes, price: Price | None) -> bytes:
    """Tell the cost in the chunk of a stream that holds the usage."""
    if price is None or price.own:
        return chunk
    told = bytes(_usage_within(chunk).usage)
    usage = usage_of(_counts(told)) if told.startswith(b"{") else None
    if usage is None or usage.cost is not None:
        return chunk
    return with_cost(chunk, prices.cost_of(price, usage))


def with_cost(body: bytes, cost: float) -> bytes:
    """Put the cost at the end of a body's usage and leave every other byte as it is.

    A body without usage, or with a cost, stays as it is.
    """
    usage = bytes(_usage_within(body).usage)
    if not usage.startswith(b"{"):
        return body
    counts = _fields(usage)
    if "cost" in counts:
        return body
    comma = b"," if counts else b""
    told = b'%b%b"cost":%b}' % (usage[:-1], comma, _encode(cost))
    at = body.rfind(usage)
    if body.find(usage) == at:
        return b"%b%b%b" % (body[:at], told, body[at + len(usage) :])
    # The same text stands elsewhere, too: only the parsed object tells which one is the usage.
    return _encode({**_fields(body), "usage": msgspec.Raw(told)})


def is_fallback(event: Event, catalog: Catalog) -> bool:
    """Tell whether an event's lease is on a deployment of another model than the named one."""
    if event.lease is None:
        return False
    leased = catalog.deployment(event.lease.deployment)
    own = catalog.model(event.model).deployments
    return bool(own) and not any(
        one.model == leased.model and one.provider == leased.provider for one in own
    )


def noted(event: Event, usage: Usage | None, facts: Facts) -> Event:
    """Add the cost of a call to its facts and to its event, where it is known."""
    if usage is None or usage.cost is None:
        return event
    facts["cost"] = usage.cost
    return msgspec.structs.replace(event, cost=round(event.cost + usage.cost, 12))


def charge(outcome: Outcome, end: Settlement, price: Price | None) -> Outcome:
    """Add what a failed call is taken to have used to the event that its outcome carries.

    A stream that was cut is billed, and nobody tells how much: by what the limits are told.
    """
    if price is None or price.own:
        return outcome
    used = Usage(
        prompt_tokens=max(0, end.prompt_tokens), completion_tokens=max(0, end.completion_tokens)
    )
    cost = prices.cost_of(price, used)
    if not cost:
        return outcome
    facts: Facts = {**outcome.facts}
    event = noted(outcome.event, msgspec.structs.replace(used, cost=cost), facts)
    return msgspec.structs.replace(outcome, event=event, facts=facts)
