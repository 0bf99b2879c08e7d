"""The limits for people and programs: who may use how much, what is used, and who waits where.

`reporter` fills it; `sluice status`, `sluice keys` and `GET /stats` show it.
"""

from typing import Final, Literal

import msgspec

State = Literal["ok", "resting", "dead"]


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and what is used of them, by dimension: requests or tokens, or calls at once."""

    limits: dict[str, int] = {}
    #: Limits that the provider showed; where there are both, the smaller holds.
    found: dict[str, int] = {}
    used: dict[str, int] = {}
    #: Length of the limit `window`.
    window_s: float = 0.0
    #: Requests that wait for this limit of ours, and how long the oldest of them does.
    held: int = 0
    held_s: float = 0.0
    #: For so long the provider wants to be left alone.
    rests_s: float = 0.0
    #: Until the next request can go: 0 is now, None nobody knows.
    wait_s: float | None = 0.0

    def limit(self, dimension: str) -> int | None:
        """Give the limit that holds; None: there is none."""
        known = [one[dimension] for one in (self.limits, self.found) if dimension in one]
        return min(known, default=None)


NOTHING: Final = Use()


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A user, token or model of a tenant; `default` is each that is not named, by itself."""

    name: str
    use: Use


class TenantReport(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant, and those of its parts that have limits."""

    name: str
    use: Use
    users: list[Part] = []
    tokens: list[Part] = []
    models: list[Part] = []

    def uses(self) -> list[Use]:
        """List what is used by it and by its parts."""
        parts = (*self.users, *self.tokens, *self.models)
        return [self.use, *(part.use for part in parts)]


class RoomReport(msgspec.Struct, frozen=True, kw_only=True):
    """A waiting room in which somebody waits."""

    #: The models that it is for, as clients name them; none: for what is left of a model's choices.
    models: list[str]
    deployments: list[str] = []
    #: By class.
    waiting: dict[str, int]
    oldest_s: float
    #: Mean time from one admission to the next; None: not known yet.
    pace_s: float | None = None


class DeploymentReport(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment, its own limits, and how it does."""

    name: str
    #: `open`: it is cut off; `trial`: one request may try it, or does.
    state: Literal["closed", "open", "trial"] = "closed"
    #: Until it is tried.
    open_s: float = 0.0
    #: Failed calls in a row, and trials that have failed since it was cut off.
    failures: int = 0
    trips: int = 0
    #: Time to the first token: the mean, and by when 95 of 100 are there; None: never measured.
    first_token_s: float | None = None
    first_token_p95_s: float | None = None
    #: Time for each token after the first; None: no stream was measured.
    token_s: float | None = None
    measured_s: float | None = None
    #: Share of the calls at once that it allows; None: it allows any number.
    occupancy: float | None = None
    use: Use


class AccountReport(msgspec.Struct, frozen=True, kw_only=True):
    """What all keys of a provider together use of a model."""

    name: str
    use: Use


class KeyReport(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's key by its public name; `key` shows what may be shown of it."""

    name: str
    key: str
    state: State
    #: The longest rest that the provider asked for, and the Unix time of its end.
    rests_s: float = 0.0
    resting_until: float = 0.0
    #: Unix time since which it is dead, and why.
    dead_since: float = 0.0
    why: str = ""
    #: Until one request tries it again.
    probe_s: float = 0.0
    #: By upstream model; none where the limits are the account's.
    models: dict[str, Use] = {}


class LimitsReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, in the order of the flow."""

    tenants: list[TenantReport] = []
    rooms: list[RoomReport] = []
    deployments: list[DeploymentReport] = []
    accounts: list[AccountReport] = []
    keys: list[KeyReport] = []

    @property
    def oldest_s(self) -> float:
        """How long who waits has been waiting at the most, as far as it is known."""
        held = (use.held_s for tenant in self.tenants for use in tenant.uses())
        return max((*(room.oldest_s for room in self.rooms), *held), default=0.0)
