"""The last hop: the answer is there, the request ends."""

from pipeline.event import Event
from pipeline.outcome import Finish, Outcome


async def respond(event: Event) -> Outcome:
    """Close the reply.

    In: an event whose provider has answered in full.
    Out: onto `done`, with the record's end and the reply's closing in the same step.
    Twice: changes nothing; the second transition is refused.
    """
    usage = event.usage
    return Finish(event, {"total_tokens": usage.total_tokens} if usage else {})
