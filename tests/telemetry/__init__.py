"""Tests of what Sluice tells of itself."""
