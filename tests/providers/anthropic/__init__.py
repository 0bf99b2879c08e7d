"""The providers, each against the simulated one over a real socket."""
