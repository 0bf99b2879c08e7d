"""What an event is, where it goes, and the means it travels by.

Read `event`, `outcome` and `flow` first; then `streams`, which carries events between the hops.
"""
