"""The one check that each hop before the call makes."""

from pipeline import clock
from pipeline.errors import Failure, QueueTimeout
from pipeline.event import Event


def overdue(event: Event, hop: str) -> Failure | None:
    """Tell the failure of a request whose deadline has passed, else nothing."""
    if not event.deadline or clock.now() <= event.deadline:
        return None
    waited = clock.now() - event.created
    message = f"The request's deadline passed at the {hop}, {waited:.1f} s after it was made"
    return QueueTimeout(message).failure()
