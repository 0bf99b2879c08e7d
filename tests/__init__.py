"""Tests on a real Redis, real sockets and real processes; `conftest` has what they lean on.

The folders mirror the product; `house` holds the rules, `journeys` and `crash` run whole systems.
"""
