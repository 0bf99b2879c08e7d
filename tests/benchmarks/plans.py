"""What the load generator is to do, and what it reports: what passes between it and us."""

import msgspec

CHAT = "/v1/chat/completions"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes, and its JSON body."""

    port: int
    path: str = CHAT
    body: dict[str, object]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Requests to send; the first `warm` of them are not measured.

    In a closed loop (the default) each connection sends again as soon as it is answered. With
    `every_s`, each connection sends one request every so many seconds, all at once, to the
    targets in turn. With `ramp_s`, each connection is opened at a random time within so many
    seconds, for one request.
    """

    targets: tuple[Target, ...]
    connections: int = 1
    warm: int = 0
    #: How long to measure; a closed loop ends with this.
    seconds: float = 0.0
    #: How many requests to measure.
    requests: int = 0
    every_s: float = 0.0
    ramp_s: float = 0.0


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long something took, in milliseconds."""

    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0
    mean: float = 0.0


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the requests to one target."""

    requests: int
    #: How many of them failed, by what was wrong.
    faults: dict[str, int]
    #: Frames of streams that held JSON.
    frames: int
    #: From sending to the last byte of the answer.
    took: Times
    #: From sending to the first byte of the answer's body.
    first: Times

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(self.faults.values())


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the load generator has seen; its CPU seconds are those of the measured time."""

    accounts: list[Account]
    seconds: float
    cpu_s: float
    #: Most requests that were open at once.
    peak: int
