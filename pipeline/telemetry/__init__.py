"""What Sluice tells of itself: traces, metrics and logs, all of them read off the journal.

`names` lists every name that leaves the house, `metrics` declares every metric. `meter` is one
subscriber: it is told of each hop that an event has passed (`pipeline.passage`), and touches
neither the event nor Redis. What it counts (`tallies`, by bounded `labels`) is written by
`exposition`, served by `serving` on a socket of `listening`, and `merging` makes one of many.
"""
