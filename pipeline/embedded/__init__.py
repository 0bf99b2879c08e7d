"""A redis-server of our own: found, started, locked to its directory, and ended with us.

`sluice up` and the tests use it; everything else meets Redis by its URL alone.
"""
