"""Who may go now: limits, leases, keys, and the rooms where events wait.

Redis decides, in scripts of parts that `runner.py` lists: who asks (`door.lua`) for which candidate
(`candidates.lua`, `leases.lua`), within which limits (`ground.lua`, `meters.lua`), who is next
(`room.lua`), what came of it (`settlement.lua`). `admission.py` asks; `view.py` only looks.
"""
