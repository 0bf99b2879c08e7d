"""`python -m tests.gateway.gateway_process '{"ping_s":0.1}'`: a gateway whose pace is given."""

import logging
import sys

import msgspec

from gateway.gateway import Pace
from gateway.server import run
from pipeline.settings.load import load

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    run(load(), pace=msgspec.json.decode(sys.argv[1], type=Pace))
