"""The hops as functions, with a real Redis and a real simulated provider where they need one."""
