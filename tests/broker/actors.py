"""The actors that the `dramatiq` command runs in the tests of it."""

import os
import time

import dramatiq

from pipeline.streams.broker import StreamBroker

broker = StreamBroker(url=os.environ["BROKER_URL"], namespace="test", liveness_s=1.0, scan_s=0.25)
dramatiq.set_broker(broker)


@dramatiq.actor
def note(number: int, seconds: float = 0.0) -> None:
    """Leave a mark in Redis when it begins and when it ends."""
    broker.client.rpush("began", number)
    time.sleep(seconds)
    broker.client.rpush("ended", number)
