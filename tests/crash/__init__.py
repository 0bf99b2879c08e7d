"""Real processes killed, stopped and cut off: each accepted request still ends exactly once."""
