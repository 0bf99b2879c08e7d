"""Server-sent events, parsed as the bytes come: each event's data, nothing else.

Chat streams name no events and give no ids that a client must keep, so `event`, `id`, `retry`
and comments are dropped. Lines end in LF, CRLF or CR, as the HTML standard has it
(https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from typing import Final

#: An event that has not ended by this many bytes is no event but a mistake.
MAX_EVENT_BYTES: Final = 32 * 1024 * 1024

_BOM: Final = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """An event exceeds `MAX_EVENT_BYTES`."""


class EventParser:
    """Turns bytes, cut anywhere, into the data of the events that they complete."""

    __slots__ = ("_after_cr", "_fresh", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        #: The last byte was a CR, so a LF that comes first now belongs to it.
        self._after_cr = False
        self._fresh = True

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; give the data of each event that has ended, in order."""
        if self._after_cr or b"\r" in data:
            data = self._with_lf(data)
        if self._rest:
            data = self._rest + data
        if self._fresh:
            data = self._without_bom(data)
        *blocks, self._rest = data.split(b"\n\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event of more than {MAX_EVENT_BYTES} bytes")
        return [found for block in blocks if (found := _data(block)) is not None]

    def end(self) -> list[bytes]:
        """Take the end of the bytes; give what stood unended.

        The standard drops it; some providers leave out the last blank line, and whoever reads
        the data sees for themselves whether it is whole.
        """
        rest, self._rest = self._rest, b""
        found = _data(rest)
        return [] if found is None else [found]

    def _with_lf(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _without_bom(self, data: bytes) -> bytes:
        if len(data) < len(_BOM) and _BOM.startswith(data):
            return data
        self._fresh = False
        return data.removeprefix(_BOM)


def _data(block: bytes) -> bytes | None:
    """Give the data of an event's lines; None: it has none."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    values = [
        line[5:].removeprefix(b":").removeprefix(b" ")
        for line in block.split(b"\n")
        if line.startswith(b"data:") or line == b"data"
    ]
    return b"\n".join(values) if values else None
