"""What Sluice tells of itself: traces, metrics and logs, all of them read off the journal.

`names` lists the names of spans' attributes, `metrics` declares every metric, `logs` says how log
lines look. Each of `tracer`, `meter` and `ends` is one subscriber: it is told of each hop that an
event has passed (`pipeline.passage`), and touches neither the event nor Redis. A trace is built by
`legs`, `tree` and `calls`, written by `otlp`, sent by `exporting`; what is counted (`tallies`, by
bounded `labels`) is written by `exposition`, served by `serving`, and `merging` makes one of many.
"""
