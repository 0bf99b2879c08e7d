"""Who may go now: limits, leases, keys, and the rooms where events wait.

Redis decides, in scripts that are put together from parts: `ground.lua` (the clock, what is limited and
used), `meters.lua` (windows and buckets), `candidates.lua` (which candidate, which key), `leases.lua`, `room.lua` (who is
next), `door.lua` (who asks), `settlement.lua` (what came of it), and on top `admission.lua`, or `look.lua`
that only looks. `admission.py` asks them, `caps.py` and `plans.py` tell them what the configuration says.
"""
