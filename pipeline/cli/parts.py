"""What each part of Sluice is started with, and whether its port is free."""

import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline import listening
from pipeline.cli.child import Part
from pipeline.errors import StartError
from pipeline.settings.children import named
from pipeline.settings.load import Settings

#: What a worker may take beyond `workers.grace_s` to end: Dramatiq looks up once a second.
_WORKER_MARGIN_S: Final = 10.0

#: Dramatiq's master waits so long for its worker's boot, deaf to signals and also when the worker
#: has died in it, as one does that takes a poison event at once.
_FORK_TIMEOUT_MS: Final = "2000"

#: A gateway gives open requests 10 s, and a farewell.
_GATEWAY_GRACE_S: Final = 15.0

#: A user's own `workers` folder in the current directory must not stand in for ours.
_PYTHON: Final = (sys.executable, "-P")


class PortTaken(StartError):
    """Another process listens where we are to listen."""


def gateways(
    settings: Settings, environment: Mapping[str, str], listener: socket.socket
) -> list[Part]:
    """Give a part for each gateway process; all accept from one listening socket of ours."""
    descriptor = listener.fileno()
    return [
        Part(
            name=name,
            arguments=(*_PYTHON, "-m", "gateway", "--fd", str(descriptor)),
            environment=named(environment, name),
            address=gateway_url(settings),
            grace_s=_GATEWAY_GRACE_S,
            descriptors=(descriptor,),
        )
        for name in _numbered("gateway", settings.gateway.processes)
    ]


def workers(settings: Settings, environment: Mapping[str, str]) -> list[Part]:
    """Give a part for each worker process: a Dramatiq of its own, with one process."""
    # Its master would write lines of its own form; what goes wrong it tells all the same.
    dramatiq = (
        "-m", "dramatiq", "workers.app", "--processes", "1", "--threads", "1",
        "--worker-fork-timeout", _FORK_TIMEOUT_MS, "--skip-logging",
    )  # fmt: skip
    return [
        Part(
            name=name,
            arguments=(*_PYTHON, *dramatiq),
            environment=named(environment, name),
            grace_s=settings.workers.grace_s + _WORKER_MARGIN_S,
        )
        for name in _numbered("worker", settings.workers.processes)
    ]


def simulator(settings: Settings, environment: Mapping[str, str]) -> Part:
    """Give the part of the simulated provider."""
    place = settings.simulate
    return Part(
        name="simulated",
        arguments=(*simulator_command(), "--host", place.host, "--port", str(place.port)),
        environment=environment,
        address=place.base_url,
    )


def simulator_command() -> Sequence[str]:
    """Give what starts the simulated provider, without its options."""
    return (*_PYTHON, "-m", "workers.providers.simulated")


def gateway_url(settings: Settings) -> str:
    """Give the address at which this machine reaches the gateway."""
    return listening.local_url(settings.gateway.host, settings.gateway.port)


def listen(host: str, port: int, whose: str) -> socket.socket:
    """Listen where nobody does yet. Raises PortTaken, which names the port."""
    try:
        return listening.listen(host, port)
    except OSError as error:
        raise PortTaken(
            f"port {port} on {host} is needed for {whose} ({error.strerror}): "
            "end what listens there, or configure another port"
        ) from None


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]
