"""Counts what reached the simulated provider, so that crash tests can count upstream calls."""

from collections import OrderedDict

import msgspec

#: Client request ids (and model names) remembered; the oldest go first.
MAX_IDS = 200_000


class CallCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of GET /calls."""

    #: Calls that reached us, refused ones too.
    total: int
    #: Calls that passed keys, limits and wished-for errors, and began an answer.
    started: int
    #: Answers that went as planned, a planned cut included.
    finished: int
    #: Answers whose client went away first.
    aborted: int
    #: Answers under way now.
    active: int
    #: The most answers under way at once.
    peak: int
    #: Calls by X-Client-Request-Id.
    ids: dict[str, int]


class Calls:
    """The running counts behind CallCounts."""

    def __init__(self) -> None:
        self._ids: OrderedDict[bytes, int] = OrderedDict()
        self._models: OrderedDict[bytes, int] = OrderedDict()
        self._total = self._started = self._finished = self._aborted = 0
        self._active = self._peak = 0

    def arrive(self, client_id: bytes | None) -> None:
        """Count a call, by the client's request id where it sent one."""
        self._total += 1
        if client_id is not None:
            _count(self._ids, client_id)

    def attempt(self, client_id: bytes | None, model: str) -> int:
        """Tell which call this is, from 1: of the client's request id, else of the model."""
        if client_id is not None:
            return self._ids.get(client_id, 1)
        return _count(self._models, model.encode())

    def start(self) -> None:
        self._started += 1
        self._active += 1
        self._peak = max(self._peak, self._active)

    def end(self, finished: bool) -> None:
        self._active -= 1
        if finished:
            self._finished += 1
        else:
            self._aborted += 1

    def counts(self) -> CallCounts:
        return CallCounts(
            total=self._total,
            started=self._started,
            finished=self._finished,
            aborted=self._aborted,
            active=self._active,
            peak=self._peak,
            ids={key.decode("latin-1"): count for key, count in self._ids.items()},
        )

    def reset(self) -> None:
        """Forget everything but the answers under way, which count as started anew."""
        self._ids.clear()
        self._models.clear()
        self._total = self._finished = self._aborted = 0
        self._started = self._peak = self._active


def _count(counts: OrderedDict[bytes, int], key: bytes) -> int:
    count = counts.pop(key, 0) + 1
    counts[key] = count
    if len(counts) > MAX_IDS:
        counts.popitem(last=False)
    return count
