"""Anthropic's Messages API.

Begin with `translation`; a request goes through `request`, `messages` and `thinking`, an answer
through `reply`, a stream through `reader`.
"""
