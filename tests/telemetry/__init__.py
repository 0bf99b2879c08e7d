"""Telemetry by itself: what it makes of passages and of log calls."""
