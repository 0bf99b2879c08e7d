"""The configuration: `load` is the way in, `schema` shows what can be set.

`file` reads the YAML, `env` the variables, `decode` finds every fault, `check` and `check_limits`
the relations between settings, `unacted` names what has no effect yet, and `secret` makes tokens
and keeps keys out of sight.
"""
