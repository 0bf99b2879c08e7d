"""Configurations of other systems, read into ours.

Begin with `source`, which reads a file and tells whose it is; `llm_queue` and `litellm` turn its
tree into settings, each with `part`, which keeps an eye on what was not taken; `written` puts the
result down as a file, and `trying` makes sure that it loads.
"""
