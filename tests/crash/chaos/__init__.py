"""Chaos journeys: hundreds of requests of all kinds while faults strike at drawn moments.

`plan` draws both from a seed, `traffic` asks, `ground` is what is wrecked, `faults` wreck it,
`ledger` reckons, and `journey` does all of it in order.
"""
