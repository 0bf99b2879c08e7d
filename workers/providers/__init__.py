"""The providers: translations between OpenAI's form and each API's, and the way to them.

Begin with `base`, which says what a translation is; `upstream` makes the calls, `verdict` judges
what fails. `openai` serves all who speak that form, `azure` with addresses of its own; `anthropic`
and `gemini` are folders, and so is `simulated`, an HTTP server that speaks every form.
"""
