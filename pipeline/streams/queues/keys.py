"""The Redis names of the Dramatiq broker: all of one queue, and a worker's sign of life."""

from typing import Final

from pipeline.names import Names

#: The one consumer group on a queue's stream.
GROUP: Final = "workers"

#: The field that holds a Dramatiq message, encoded.
MESSAGE_FIELD: Final = b"message"

#: The field of an entry that only wakes a reader: a delayed message is due before its next look.
WAKE_FIELD: Final = b"wake"


class QueueKeys:
    """The Redis keys of one queue."""

    def __init__(self, namespace: str, queue: str) -> None:
        self.queue = queue
        #: Messages that are ready, and those that a worker holds (pending).
        self.stream = f"{namespace}:queue:{queue}"
        #: Sorted set of delayed messages by due time in Unix milliseconds.
        self.delayed = f"{self.stream}:delayed"
        self.dead = f"{self.stream}:dead"
        #: Counter that keeps delayed messages of the same millisecond apart and in order.
        self.sequence = f"{self.stream}:sequence"
        #: Never written: deleting it is a write that needs no memory.
        self.absent = f"{self.stream}:absent"
        self.clock = Names(namespace).clock

    def for_script(self) -> list[str]:
        """List the keys in the order in which every script of the broker takes them."""
        return [self.stream, self.delayed, self.dead, self.sequence, self.absent, self.clock]


def liveness_prefix(namespace: str) -> str:
    """Name what a consumer's name is appended to for its liveness key."""
    return f"{namespace}:queue-worker:"
