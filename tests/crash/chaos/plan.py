"""What a journey's seed decides: which requests are sent when, and which faults strike when."""

import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

#: How a request comes in: a whole HTTP answer, an HTTP stream, `/chat/async`, or the producer's
#: own XADD, the last with a callback stream.
Way = Literal["whole", "stream", "later", "direct"]

_WAYS: Sequence[Way] = ("whole", "stream", "later", "direct", "direct")

#: Models of `ground.MODELS` and how many of a hundred requests are theirs.
_SHARES = {"quick": 30, "talk": 24, "narrow": 20, "paced": 8, "shaky": 8, "steep": 4, "broken": 4,
           "refused": 2}  # fmt: skip

#: Requests arrive in bunches of up to so many, as retries and cron jobs do.
_BUNCH = 12


class Order(NamedTuple):
    """A request to be sent."""

    at_s: float
    way: Way
    model: str
    name: str


class Strike(NamedTuple):
    """A fault to come, by its name in `faults.KINDS`."""

    at_s: float
    fault: str


class Plan(NamedTuple):
    """All that is to happen."""

    seed: int
    orders: Sequence[Order]
    strikes: Sequence[Strike]


def draw(seed: int, faults: Sequence[str], *, requests: int, over_s: float) -> Plan:
    """Draw a plan: each of `faults` strikes once, in a drawn order, while requests come."""
    chance = random.Random(seed)
    orders: list[Order] = []
    while len(orders) < requests:
        at_s = chance.uniform(0, over_s)
        for _ in range(min(chance.randint(1, _BUNCH), requests - len(orders))):
            [model] = chance.choices(list(_SHARES), list(_SHARES.values()))
            orders.append(Order(at_s, chance.choice(_WAYS), model, f"c{len(orders)}"))
    shuffled = chance.sample(faults, len(faults))
    # The first one finds something under way, and who climbs is still on a rung for the last.
    moments = sorted(chance.uniform(0.15 * over_s, over_s + 0.5) for _ in faults)
    return Plan(seed, sorted(orders), [Strike(*one) for one in zip(moments, shuffled, strict=True)])
