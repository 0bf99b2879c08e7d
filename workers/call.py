"""The third hop: calls the deployment and passes its deltas on as they come."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from pipeline import clock
from pipeline import event as events
from pipeline.catalog import Catalog
from pipeline.errors import Cancelled, Failure, ModelNotFound, SluiceError, UpstreamError
from pipeline.event import Event, Facts
from pipeline.flow import CALL, GATE, RESPOND
from pipeline.limits.admission import Admission
from pipeline.outcome import Die, Forward, Outcome
from pipeline.prices import Price
from pipeline.settings.load import RetrySettings
from pipeline.streams.cancels import Cancels
from pipeline.streams.replies import Replies, ReplyWriter
from pipeline.summary import summary_of
from workers import costing, remedy, settling
from workers.deadline import overdue
from workers.providers.base import Deltas, ProviderCall, Reply, Timeouts
from workers.providers.upstream import Upstream

log = logging.getLogger(__name__)

#: A call whose reply is refused is not repeated at more attempts than these.
_MOST_SUPERSEDED: Final = 20


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What a call needs of its process."""

    catalog: Catalog
    admission: Admission
    upstream: Upstream
    replies: Replies
    #: Fetches the body of a request that was too large to travel.
    body_of: Callable[[str], Awaitable[bytes | None]]
    cancels: Cancels
    retry: RetrySettings = RetrySettings()
    #: The version of the configuration.
    config: str = ""


async def call(event: Event, *, means: Means) -> Outcome:
    """Call the leased deployment once.

    In: an event with a lease.
    Out: to respond with the answer; back to the gate when another key or candidate, or the same
    one in a moment, may do better; onto the ladder when none is left and it can wait; dead when it
    cannot, when the provider refuses the request itself, when the stream was cut after deltas
    had gone out, or when it was cancelled.
    Twice: a second run begins a new generation of the reply, which shuts out the first one's
    late deltas; the lease is settled once.
    """
    if late := overdue(event, CALL):
        means.admission.leave(event)
        return Die(event, late)
    if not _is_served(event, means.catalog):
        # The configuration was changed since the gate: neither is called any more.
        await means.admission.leave(event)
        return Forward(msgspec.structs.replace(event, lease=None), GATE, {"lease": "not served"})
    if event.delivery > 1 and not await means.admission.resume(event):
        # Its worker died after it had given the lease back, and before it could say so. That
        # call counts: the next one's generation has to be a later one.
        again = msgspec.structs.replace(event, lease=None, attempts=event.attempts + 1)
        return Forward(again, GATE, {"lease": "gone"})
    generation = event.next_generation
    event = msgspec.structs.replace(event, attempts=event.attempts + 1, generation=generation)
    writer = means.replies.open(event.id, generation)
    start = clock.monotonic()
    facts: Facts = {"deployment": event.lease.deployment if event.lease else ""}
    if means.config:
        facts["config"] = means.config
    try:
        reply = await _answer(event, means, writer, facts)
    except SluiceError as error:
        await writer.flushed()
        facts["call_ms"] = _ms_since(start)
        return await _failed(event, error, means, writer, facts)
    facts["call_ms"] = _ms_since(start)
    settled = means.admission.settle(event, settling.answered(reply, facts))
    if writer.refused and event.attempts < _MOST_SUPERSEDED:
        # Others run it, and this transition is refused; or Redis has forgotten that it was run
        # before, and the next attempt's deltas are later ones than those that stand there.
        await settled
        event = costing.noted(event, reply.usage, facts)
        again = msgspec.structs.replace(event, lease=None)
        return Forward(again, GATE, {**facts, "reply": "superseded"})
    return _answered(event, reply, writer, facts)


def _is_served(event: Event, catalog: Catalog) -> bool:
    """Tell whether the configuration still has the deployment and the key of a lease."""
    assert event.lease is not None
    try:
        deployment = catalog.deployment(event.lease.deployment)
    except ModelNotFound:
        return False
    return event.lease.key in catalog.key_ids(deployment.provider)


def _ms_since(start: float) -> float:
    return round((clock.monotonic() - start) * 1000, 2)


async def _answer(event: Event, means: Means, writer: ReplyWriter, facts: Facts) -> Reply:
    await means.cancels.check(event)
    request = await _request(event, means)
    with means.cancels.guard(event):
        return await _called(event, means, writer, facts, request)


async def _called(
    event: Event, means: Means, writer: ReplyWriter, facts: Facts, request: ProviderCall
) -> Reply:
    price = costing.price_of(event, means.catalog)
    if costing.is_fallback(event, means.catalog):
        facts["fallback"] = True
    if not event.stream:
        return costing.priced(await means.upstream.complete(request), price)
    stream = means.upstream.stream(request)
    start = clock.monotonic()
    try:
        async for deltas in stream:
            if not writer.place and not writer.pending:
                facts["first_delta_ms"] = round((clock.monotonic() - start) * 1000, 2)
                writer.head = events.encode(summary_of(event, facts))
            writer.write(_wanted(event, deltas, price))
            if writer.refused:
                break
        await writer.flushed()
    finally:
        await stream.aclose()
    if writer.cancelled:
        raise Cancelled("The request was cancelled during its answer.", sent=True)
    return costing.priced(stream.reply(), price)


async def _request(event: Event, means: Means) -> ProviderCall:
    assert event.lease is not None
    deployment = means.catalog.deployment(event.lease.deployment)
    provider = means.catalog.provider(deployment.provider)
    body = event.body if event.has_body else await means.body_of(event.id)
    if not body:
        raise UpstreamError(
            Failure(
                message="The request's body is no longer in Redis", code="body_lost", status=500
            ),
            sent=False,
        )
    key = means.catalog.key(deployment.provider, event.lease.key)
    return ProviderCall(
        request_id=event.id,
        attempt=event.attempts,
        operation=event.operation,
        base_url=provider.base_url,
        kind=provider.kind,
        model=deployment.model,
        key=key.reveal() if key else "",
        body=body,
        stream=event.stream,
        timeout=Timeouts(
            connect_s=provider.timeout.connect_s,
            first_byte_s=provider.timeout.first_byte_s,
            idle_s=provider.timeout.idle_s,
            total_s=provider.timeout.total_s,
        ),
        headers=tuple((name, text.reveal()) for name, text in provider.headers.items()),
        api_version=provider.api_version,
        differs=provider.differs,
        proxy=provider.proxy.reveal() if provider.proxy else "",
    )


def _wanted(event: Event, deltas: Deltas, price: Price | None) -> list[bytes]:
    """Leave out the usage chunk, which we asked for, where the client did not; else price it."""
    if deltas.usage_at < 0:
        return deltas.chunks
    chunks = [*deltas.chunks]
    usage = chunks.pop(deltas.usage_at)
    if event.include_usage:
        chunks.insert(deltas.usage_at, costing.chunk_priced(usage, price))
    return chunks


def _answered(event: Event, reply: Reply, writer: ReplyWriter, facts: Facts) -> Outcome:
    answered = msgspec.structs.replace(
        costing.noted(event, reply.usage, facts),
        usage=reply.usage,
        finish_reason=reply.finish_reason,
        deltas=writer.place,
        failure=None,
    )
    facts["status"] = reply.status
    if reply.model:
        facts["model"] = reply.model
    if reply.upstream_id:
        facts["upstream_id"] = reply.upstream_id
    return Forward(answered, RESPOND, facts, reply.response)


async def _failed(
    event: Event, error: SluiceError, means: Means, writer: ReplyWriter, facts: Facts
) -> Outcome:
    failure = error.failure()
    facts |= {"cause": failure.cause, "status": failure.status, "error": failure.message[:200]}
    event = msgspec.structs.replace(event, deltas=writer.place)
    outcome = remedy.after(event, failure, facts, means.catalog, means.retry)
    asks_again = isinstance(outcome, Forward)
    end = settling.failed(event, error, means.catalog, facts, asks_again=asks_again)
    if end.rest_s:
        facts["rest_s"] = end.rest_s
    settled = means.admission.settle(event, end)
    if asks_again:
        # Else the event could be at the gate before its lease is gone.
        await settled
        try:
            with means.cancels.guard(event):
                await asyncio.sleep(float(outcome.facts.get("quick", 0)))
        except Cancelled as cancelled:
            means.admission.leave(event)
            return Die(event, cancelled.failure(), facts)
    return outcome
