"""Builds every connection to Redis, in one place and with one rule: no command is repeated.

redis-py would retry ten times, and a repeated XADD accepts twice.
"""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: A server that keeps TCP open and answers nothing is given up after this.
SOCKET_TIMEOUT_S = 5.0


def sync_client(url: str, *, block_s: float = 0.0, name: str = "") -> redis.Redis:
    """Build a client whose longest blocking command takes `block_s`; it connects on first use."""
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=max(SOCKET_TIMEOUT_S, 2 * block_s),
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        client_name=name or None,
        protocol=2,
    )
