"""Tests of what Sluice tells of itself: the trees of its traces, what they cost, and its log."""
