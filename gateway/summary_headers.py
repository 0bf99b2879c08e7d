"""What an answer's headers tell of its way: who answered, after what, how long it took, its cost.

A stream's go out with its first token and tell what is known by then.
"""

import asyncio
from typing import Final

import msgspec

from gateway.exchange import Exchange, Headers
from pipeline.event import Summary

POLITE: Final = (b"x-sluice-polite", b"true")

_decode: Final = msgspec.json.Decoder(Summary).decode


def tell(exchange: Exchange, summary: Summary | None) -> None:
    """Have the answer's headers tell a request's way, unless the answer has begun."""
    if summary is not None and not exchange.started:
        exchange.told = summary_headers(summary, exchange)


def tell_head(exchange: Exchange, head: bytes) -> None:
    """Have a stream's headers tell what came with its first token."""
    if head and not exchange.started:
        tell(exchange, _decode(head))


def summary_headers(summary: Summary, exchange: Exchange) -> Headers:
    """Write the headers; what is not known, or is not this answer's, is left out.

    An answer that is given again took neither time nor money.
    """
    headers = [(b"x-sluice-attempts", b"%d" % summary.attempts)]
    if summary.polite:
        headers.append(POLITE)
    if summary.deployment:
        headers.append((b"x-sluice-deployment", _visible(summary.deployment)))
        headers.append((b"x-sluice-fallbacks", b"%d" % summary.fallbacks))
    if summary.model:
        headers.append((b"x-sluice-model", _visible(summary.model)))
    if exchange.repeats:
        return headers
    queue_ms, provider_ms = summary.queue_ms, summary.provider_ms
    total_ms = (asyncio.get_running_loop().time() - exchange.arrived) * 1000
    headers += [
        (b"x-sluice-queue-ms", b"%.1f" % queue_ms),
        (b"x-sluice-provider-ms", b"%.1f" % provider_ms),
        (b"x-sluice-overhead-ms", b"%.1f" % max(0.0, total_ms - queue_ms - provider_ms)),
    ]
    if summary.cost is not None:
        headers.append((b"x-sluice-cost", dollars(summary.cost)))
    return headers


def dollars(cost: float) -> bytes:
    """Write US dollars without an exponent."""
    return (b"%.12f" % cost).rstrip(b"0").rstrip(b".")


def _visible(text: str) -> bytes:
    """Give a name as a header can hold it."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text).encode()
