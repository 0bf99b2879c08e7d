"""Tests of what Sluice tells of itself: the trees of its traces, and what they cost nobody."""
