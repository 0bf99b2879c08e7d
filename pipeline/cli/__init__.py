"""The command `sluice`: `app` is the way in, `commands_*` hold what `--help` shows.

What the commands do is in a file each; those are imported only when a command runs, so that
the command starts fast. `crew` keeps child processes running for `up`, `gateway` and `workers`.
"""
