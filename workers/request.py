"""The request to a provider that an event's lease stands for."""

from collections.abc import Mapping

import msgspec

from pipeline import tracing
from pipeline.catalog import Catalog
from pipeline.errors import Failure, UpstreamError
from pipeline.event import Event
from pipeline.ladder import leg_lines
from pipeline.telemetry.tree import call_id
from workers import remedy
from workers.providers.base import ProviderCall, Timeouts


def request_of(
    event: Event, body: msgspec.Raw | bytes | None, catalog: Catalog, *, tells: bool = False
) -> ProviderCall:
    """Write the request of an event with its body; raises `UpstreamError` where that is lost.

    `tells` lets the provider know the trace context.
    """
    assert event.lease is not None
    deployment = catalog.deployment(event.lease.deployment)
    provider = catalog.provider(deployment.provider)
    if not body:
        raise UpstreamError(
            Failure(
                message="The request's body is no longer in Redis", code="body_lost", status=500
            ),
            sent=False,
        )
    key = catalog.key(deployment.provider, event.lease.key)
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
        headers=(
            *(_context_of(event) if tells else {}).items(),
            *((name, text.reveal()) for name, text in provider.headers.items()),
        ),
        api_version=provider.api_version,
        differs=provider.differs,
        fails_withheld=not event.deltas and remedy.has_stand_in(event, "policy", catalog),
        proxy=provider.proxy.reveal() if provider.proxy else "",
    )


def _context_of(event: Event) -> Mapping[str, str]:
    """Give the context of the call's own span; where the request is not traced, its caller's."""
    if event.trace is None:
        return tracing.context_of(event)
    span_id = call_id(event.trace.root, len(leg_lines(event)), event.delivery)
    return tracing.headers(tracing.traceparent(event.trace.root, span_id), event.trace.state)
