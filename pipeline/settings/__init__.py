"""The configuration: `load` is the way in, `schema` shows what can be set.

`file` reads the YAML, `env` and its kin the variables, `differences` knows in what providers
differ, `decode` finds every fault, `check` and its kin the relations between settings, and `secret`
makes tokens and keeps keys out of sight.
"""
