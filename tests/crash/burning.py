"""`dramatiq tests.crash.burning`: the hops, beside two threads that burn CPU and hold the GIL."""

import threading

from workers.app import broker

__all__ = ["broker"]


def _burn() -> None:
    print("burning", flush=True)
    number = 0
    while True:
        number += 1


for _ in range(2):
    threading.Thread(target=_burn, daemon=True).start()
