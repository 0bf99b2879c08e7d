"""`dramatiq tests.crash.deadly`: the hops, but a call of a model named deadly kills its process."""

import asyncio
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
        # Not while the process still boots: killed inside its `Event.set`, it would take the
        # lock along, and Dramatiq's master would wait for it for ever.
        await asyncio.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    return await call(event, means=means)


broker.actors[CALL].fn = _deadly
