"""One message as it was read from a queue, and the rules by which an entry is one."""

from dramatiq.broker import MessageProxy
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from pipeline import clock
from pipeline.streams.queues.keys import MESSAGE_FIELD, QueueKeys
from pipeline.streams.queues.scripts import Successor


class Delivery(MessageProxy):
    """A message in a worker's hands, with the entry that it must settle."""

    def __init__(self, message: Message[object], *, keys: QueueKeys, entry_id: bytes) -> None:
        super().__init__(message)
        self.keys = keys
        self.entry_id = entry_id
        self.read_at = clock.monotonic()
        self._retries = message.options.get("retries", 0)
        #: The retry that is to be sent when, and only when, this entry is settled.
        self.successor: Successor | None = None

    @property
    def is_being_retried(self) -> bool:
        """Whether the retry middleware has just counted a failure of this very delivery."""
        retries: object = self.options.get("retries", 0)
        return self.successor is None and retries != self._retries

    @property
    def failure(self) -> str:
        """Why the message failed, in one line."""
        return repr(self._exception)[:500] if self._exception else "rejected"


def order_of(entry_id: bytes) -> tuple[int, int]:
    """Give an entry id as numbers, which sort as Redis sorts them."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence)


def decode(fields: list[bytes], queue: str) -> Message[object]:
    """Read the message of an entry of `queue`; raises DecodeError if it holds none.

    A due time is dropped: Redis has waited for it, and Dramatiq would wait in memory again.
    """
    payload = dict(zip(fields[::2], fields[1::2], strict=True)).get(MESSAGE_FIELD)
    if payload is None:
        raise DecodeError("no message field", b"", None)  # type: ignore[no-untyped-call]
    message: Message[object] = Message.decode(payload)
    # Whatever was encoded as the fields of a message decodes to one.
    named: tuple[object, ...] = (message.actor_name, message.message_id)
    mapped: tuple[object, ...] = (message.kwargs, message.options)
    if not (all(isinstance(x, str) for x in named) and all(isinstance(x, dict) for x in mapped)):
        raise DecodeError("fields of wrong types", payload, None)  # type: ignore[no-untyped-call]
    message.options.pop("eta", None)
    return message if message.queue_name == queue else message.copy(queue_name=queue)
