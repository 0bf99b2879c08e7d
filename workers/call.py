"""The third hop: calls the deployment and passes its deltas on as they come."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from pipeline import clock
from pipeline import event as events
from pipeline.catalog import Catalog
from pipeline.errors import Cancelled, ModelNotFound, SluiceError
from pipeline.event import Event, Facts, Usage
from pipeline.flow import CALL, GATE, RESPOND
from pipeline.limits.admission import Admission
from pipeline.limits.tickets import Settlement
from pipeline.outcome import Die, Forward, Outcome
from pipeline.prices import Price
from pipeline.settings.load import RetrySettings
from pipeline.streams.cancels import Cancels
from pipeline.streams.replies import Replies, ReplyWriter
from pipeline.summary import summary_of
from workers import continuing, costing, remedy, settling
from workers.continuing import Joint, SoFar
from workers.deadline import overdue
from workers.providers.base import Deltas, ProviderCall, Reply
from workers.providers.upstream import Upstream
from workers.request import request_of

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
    #: Whether providers are told the trace context.
    tells_providers: bool = False


class _Run(msgspec.Struct, kw_only=True):
    """One call under way."""

    #: With the generation of the reply that it writes.
    event: Event
    #: That of the call: the generation's, unless it goes on with an earlier one's.
    number: int
    writer: ReplyWriter
    facts: Facts
    #: What stands of the answer with which it goes on.
    so_far: SoFar | None = None
    joint: Joint | None = None

    def settled_as(self, deltas: int = 0) -> Event:
        """Give the event as its call is to be settled, after so many deltas of its own."""
        return msgspec.structs.replace(self.event, generation=self.number, deltas=deltas)


async def call(event: Event, *, means: Means) -> Outcome:
    """Call the leased deployment once.

    In: an event with a lease.
    Out: to respond with the answer; back to the gate when another key or candidate, or the same
    one in a moment, may do better; onto the ladder when none is left and it can wait; dead when it
    cannot, when the provider refuses the request itself, when the stream was cut after deltas
    had gone out, or when it was cancelled.
    Twice: a second run begins a new generation of the reply, which shuts out the first one's
    late deltas; the lease is settled once. With `on_cut: continue` it goes on in the generation
    that stands, and shuts them out, too.
    """
    if turned_away := await _turned_away(event, means):
        return turned_away
    so_far = await _so_far(event, means, event.next_generation) if _has_run(event) else None
    if so_far and so_far.is_whole:
        return await _stood(event, so_far, means)
    if so_far and (unable := remedy.unable(event, so_far, means.catalog)):
        await means.admission.leave(event)
        return unable
    run = _begun(event, so_far, means)
    if event.trace:
        run.facts["called_at"] = round(clock.now(), 6)
    start = clock.monotonic()
    try:
        reply = await _answer(run, means)
    except SluiceError as error:
        await run.writer.flushed()
        run.facts["call_ms"] = _ms_since(start)
        return await _failed(run, error, means)
    run.facts["call_ms"] = _ms_since(start)
    settled = means.admission.settle(run.settled_as(), settling.answered(reply, run.facts))
    if run.writer.refused and run.event.attempts < _MOST_SUPERSEDED:
        # Others run it, and this transition is refused; or Redis has forgotten that it was run
        # before, and the next attempt's deltas are later ones than those that stand there.
        await settled
        event = costing.noted(run.event, reply.usage, run.facts)
        again = msgspec.structs.replace(event, lease=None)
        return Forward(again, GATE, {**run.facts, "reply": "superseded"})
    return _answered(run, reply)


async def _turned_away(event: Event, means: Means) -> Outcome | None:
    """Decide about an event that is not to be called, or not with its lease; none: it is."""
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
    return None


def _has_run(event: Event) -> bool:
    return event.attempts > 0 or event.delivery > 1


async def _so_far(event: Event, means: Means, number: int) -> SoFar | None:
    """Read what stands of an answer that is to be gone on with; none: nothing."""
    if not continuing.may(event, means.catalog):
        return None
    beginning = await means.replies.beginning(event.id, number)
    if beginning is None:
        return None
    return SoFar(beginning, await _body(event, means) or b"{}")


def _begun(event: Event, so_far: SoFar | None, means: Means) -> _Run:
    """Begin a call, or go on with what stands where the deployment can."""
    if so_far and continuing.can(event, so_far, means.catalog):
        run = _on_with(event, so_far, means)
        run.joint = continuing.joint(event, so_far, means.catalog)
        return run
    number = event.next_generation
    return _Run(
        event=msgspec.structs.replace(event, attempts=event.attempts + 1, generation=number),
        number=number,
        writer=means.replies.open(event.id, number),
        facts=_first_facts(event, means),
    )


def _first_facts(event: Event, means: Means) -> Facts:
    facts: Facts = {"deployment": event.lease.deployment if event.lease else ""}
    return {**facts, "config": means.config} if means.config else facts


def _on_with(event: Event, so_far: SoFar, means: Means) -> _Run:
    """Go on in the generation that stands."""
    stands, number = so_far.beginning, event.next_generation
    told: Facts = {"continued": continuing.cut_at(event), "said": so_far.tokens}
    return _Run(
        event=msgspec.structs.replace(
            event,
            attempts=event.attempts + 1,
            generation=stands.generation,
            deltas=stands.place,
        ),
        number=number,
        writer=means.replies.go_on(event.id, number, stands),
        facts=_first_facts(event, means) | told,
        so_far=so_far,
    )


async def _stood(event: Event, so_far: SoFar, means: Means) -> Outcome:
    """End with an answer that stands whole: its worker died before it could say so."""
    reply = continuing.stood(event, so_far, costing.price_of(event, means.catalog))
    run = _on_with(event, so_far, means)
    if event.include_usage and so_far.assembly.usage is None:
        run.writer.write([continuing.usage_chunk(so_far, reply)])
        await run.writer.flushed()
    used = reply.usage or Usage()
    end = Settlement(
        ending="answered",
        prompt_tokens=used.prompt_tokens,
        completion_tokens=used.completion_tokens,
    )
    means.admission.settle(run.settled_as(), end)
    return _answered(run, reply)


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


async def _answer(run: _Run, means: Means) -> Reply:
    await means.cancels.check(run.event)
    body = await _body(run.event, means)
    request = request_of(run.event, body, means.catalog, tells=means.tells_providers)
    if run.so_far:
        request = continuing.asking_on(request, run.so_far)
    with means.cancels.guard(run.event):
        return await _called(run, means, request)


async def _called(run: _Run, means: Means, request: ProviderCall) -> Reply:
    event, facts, writer = run.event, run.facts, run.writer
    price = costing.price_of(event, means.catalog)
    if costing.is_fallback(event, means.catalog):
        facts["fallback"] = True
    if not event.stream:
        return costing.priced(await means.upstream.complete(request), price)
    stream = means.upstream.stream(request)
    start = clock.monotonic()
    try:
        async for deltas in stream:
            if "first_delta_ms" not in facts:
                facts["first_delta_ms"] = _ms_since(start)
                writer.head = events.encode(summary_of(event, facts))
            joined = run.joint.joined(deltas) if run.joint else deltas
            writer.write(_wanted(event, joined, price))
            if writer.refused:
                break
        await writer.flushed()
    finally:
        await stream.aclose()
    if writer.cancelled:
        raise Cancelled("The request was cancelled during its answer.", sent=True)
    return costing.priced(stream.reply(), price)


async def _body(event: Event, means: Means) -> msgspec.Raw | bytes | None:
    return event.body if event.has_body else await means.body_of(event.id)


def _wanted(event: Event, deltas: Deltas, price: Price | None) -> list[bytes]:
    """Leave out the usage chunk, which we asked for, where the client did not; else price it."""
    if deltas.usage_at < 0:
        return deltas.chunks
    chunks = [*deltas.chunks]
    usage = chunks.pop(deltas.usage_at)
    if event.include_usage:
        chunks.insert(deltas.usage_at, costing.chunk_priced(usage, price))
    return chunks


def _answered(run: _Run, reply: Reply) -> Outcome:
    facts = run.facts
    noted = costing.noted(run.event, reply.usage, facts)
    if run.joint:
        reply = run.joint.whole(reply)
    answered = msgspec.structs.replace(
        noted,
        usage=reply.usage,
        finish_reason=reply.finish_reason,
        deltas=run.writer.place,
        failure=None,
    )
    facts["status"] = reply.status
    if reply.model:
        facts["model"] = reply.model
    if reply.upstream_id:
        facts["upstream_id"] = reply.upstream_id
    return Forward(answered, RESPOND, facts, reply.response)


async def _failed(run: _Run, error: SluiceError, means: Means) -> Outcome:
    failure, facts = error.failure(), run.facts
    facts |= {"cause": failure.cause, "status": failure.status, "error": failure.message[:200]}
    if isinstance(status := failure.metadata.get("provider_status"), int):
        facts["provider_status"] = status
    event, said = await _cut(run, means)
    if said:
        facts["cut_after"] = said
    outcome = remedy.after(event, failure, facts, means.catalog, means.retry)
    asks_again = isinstance(outcome, Forward)
    settled_as = run.settled_as(said)
    end = settling.failed(settled_as, error, means.catalog, facts, asks_again=asks_again)
    if end.rest_s:
        facts["rest_s"] = end.rest_s
    settled = means.admission.settle(settled_as, end)
    if asks_again:
        # Else the event could be at the gate before its lease is gone.
        await settled
        try:
            with means.cancels.guard(event):
                await asyncio.sleep(float(outcome.facts.get("quick", 0)))
        except Cancelled as cancelled:
            means.admission.leave(event)
            outcome = Die(event, cancelled.failure(), facts)
    return costing.charge(outcome, end, costing.price_of(event, means.catalog))


async def _cut(run: _Run, means: Means) -> tuple[Event, int]:
    """Give the event of a call that failed, and after about how many tokens it was cut.

    With its deltas where others can go on with them, its usage says so.
    """
    event = msgspec.structs.replace(run.event, deltas=run.writer.place)
    written = event.deltas - (run.so_far.beginning.place if run.so_far else 0)
    so_far = await _so_far(event, means, run.number) if written else run.so_far
    if so_far is None:
        return event, written
    if not so_far.is_plain:
        event = msgspec.structs.replace(event, plan=())
    said = so_far.tokens - (run.so_far.tokens if run.so_far else 0)
    if not said:
        return event, 0
    price = costing.price_of(event, means.catalog)
    part = Usage(prompt_tokens=event.prompt_tokens, completion_tokens=said)
    return msgspec.structs.replace(event, usage=continuing.added(event.usage, part, price)), said
