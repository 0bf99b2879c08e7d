"""Who may go now: leases on capacity, windows of usage, and the room where events wait for both."""
