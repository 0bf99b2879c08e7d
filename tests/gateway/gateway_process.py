"""`python -m tests.gateway.gateway_process '{"ping_s":0.1}' real`: a gateway whose pace is given.

It looks at the real limits, or with `standin` at those that a test has written.
"""

import sys
from functools import partial

import msgspec

from gateway.gateway import Gateway, Pace
from gateway.server import run
from gateway.waiting import Sight
from pipeline.limits.view import View
from pipeline.settings.load import TelemetrySettings, load
from pipeline.telemetry.logs import configure
from tests.gateway.standin_view import StandinView

SIGHTS: dict[str, Sight] = {"real": View, "standin": StandinView}

if __name__ == "__main__":
    configure("gateway", TelemetrySettings(log_level="debug"))
    pace = msgspec.json.decode(sys.argv[1], type=Pace)
    run(load(), make=partial(Gateway, pace=pace, sight=SIGHTS[sys.argv[2]]))
