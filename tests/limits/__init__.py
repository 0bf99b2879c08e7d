"""Admission on a real Redis: leases, keys in rotation, and the room where events wait."""
