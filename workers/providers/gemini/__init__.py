"""Google's Gemini.

Begin with `translation`; a request goes through `request` and `contents`, an answer through
`answer` and `reader`, embeddings through `embeddings`.
"""
