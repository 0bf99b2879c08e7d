"""`dramatiq tests.crash.deadly`: the hops, but a call of a model named deadly kills its process."""

import os
import signal

from pipeline.event import Event
from pipeline.flow import CALL
from pipeline.outcome import Outcome
from workers.app import broker
from workers.call import Means, call

__all__ = ["broker"]


async def _deadly(event: Event, *, means: Means) -> Outcome:
    if "deadly" in event.model:
        os.kill(os.getpid(), signal.SIGKILL)
    return await call(event, means=means)


broker.actors[CALL].fn = _deadly
