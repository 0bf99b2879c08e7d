"""What Sluice tells of itself: traces, metrics and logs, all of them read off the journal.

`names` lists every name that leaves the house, `logs` says how log lines look. Each of the others
is one subscriber: it is told of each hop that an event has passed (`pipeline.passage`), and touches
neither the event nor Redis.
"""
