"""In what a provider of kind `compatible` differs from OpenAI's form."""

from pipeline.settings.fields import Section


class Differences(Section, frozen=True, kw_only=True):
    """What to change in a request, and what not to expect of an answer."""
