"""The tests' surroundings: no provider's variable comes in, no packet leaves the machine.

What they write goes to memory where there is enough of it.
"""

import ipaddress
import os
import socket
import sys
from pathlib import Path

_PREFIXES = (
    "ANTHROPIC_",
    "AZURE_",
    "DRAMATIQ_",
    "GEMINI_",
    "GOOGLE_",
    "KEYS_",
    "LLM_",
    "OLLAMA_",
    "OPENAI_",
    "OPENROUTER_",
    "OTEL_",
    "QUEUE_",
    "REDIS_",
    "SLUICE_",
    "VLLM_",
)
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY"})
#: What steers the tests themselves.
_KEPT = "SLUICE_TEST_"

_MEMORY = Path("/dev/shm")
#: The tests of one run write some 100 MB, and a container may have 64 MiB there.
_ENOUGH = 2 << 30


class OutsideRefused(RuntimeError):
    """A test reached for a host that is not this machine."""


def forget_providers() -> None:
    """Remove every variable that could configure a provider, a proxy or Sluice itself.

    One is set: who is started serves no metrics, as many houses at once would want one port.
    """
    for name in list(os.environ):
        foreign = name.startswith(_PREFIXES) or name.upper() in _PROXIES
        if foreign and not name.startswith(_KEPT):
            del os.environ[name]
    os.environ["SLUICE_TELEMETRY__METRICS_PORT"] = "0"


def write_to_memory() -> None:
    """Put the tests' folders where no disk is, unless somebody has said where.

    A shared disk may take half a minute to sync, and a Redis that keeps a file stands still for
    as long: that says nothing of Sluice.
    """
    if not _MEMORY.is_dir():
        return
    found = os.statvfs(_MEMORY)
    if found.f_bavail * found.f_frsize >= _ENOUGH and not found.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def refuse_outside() -> None:
    """Raise OutsideRefused, for the rest of the process, where a socket leaves this machine.

    An audit hook sees what goes through Python's sockets; uvloop's and other processes' do not.
    """
    sys.addaudithook(_watch)


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        link, address = arguments
        inet = isinstance(link, socket.socket) and link.family in (socket.AF_INET, socket.AF_INET6)
        if inet and isinstance(address, tuple) and not _is_loopback(str(address[0])):
            raise OutsideRefused(f"a test tried to reach {address[0]}:{address[1]}")
    elif event == "socket.getaddrinfo":
        host = arguments[0]
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not _is_loopback(str(name)):
            raise OutsideRefused(f"a test tried to look up {name}")


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
