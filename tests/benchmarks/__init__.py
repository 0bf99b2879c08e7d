"""Measurements beside their baselines, for `make bench`; no test is timed."""
