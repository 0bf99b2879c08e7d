"""The client and the link of the streams' tests."""

from tests.streams.conftest import client, link

__all__ = ["client", "link"]
