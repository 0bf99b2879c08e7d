"""The command `sluice`, run as its users run it: real processes in folders of their own."""
