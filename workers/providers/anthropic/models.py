"""What of Anthropic's models has to be known by their names; unknown names count as the newest."""

import re
from typing import Final

#: What an answer may take unless the request says so, which OpenAI leaves open and Anthropic
#: wants: as much as every model since Claude 4 gives. It costs nothing when it is not used, and
#: counts for no limit: https://platform.claude.com/docs/en/api/rate-limits
MOST_TOKENS: Final = 32_000
#: The same of older models, by the beginnings of their names; the first that fits counts.
_MOST_OF_OLDER: Final = (("claude-3-7", 32_000), ("claude-3-5", 8192), ("claude-3", 4096))
#: All up to Claude 4.5.
_OLDER: Final = re.compile(r"claude-(?:3|[a-z]+-4(?:-[0-5])?(?:-latest|[-@]\d{8}.*)?$)")


def most_tokens(model: str) -> int:
    """Tell what an answer of a model may take when the request does not say."""
    found = (most for start, most in _MOST_OF_OLDER if model.startswith(start))
    return next(found, MOST_TOKENS)


def is_budgeted(model: str) -> bool:
    """Tell whether a model thinks within a budget alone; newer ones decide for themselves.

    https://platform.claude.com/docs/en/build-with-claude/thinking
    """
    return _OLDER.search(model) is not None


def takes_beginning(model: str) -> bool:
    """Tell whether a model goes on from the beginning of an answer, as a cut stream leaves it.

    Newer ones refuse it with a 400: https://platform.claude.com/docs/en/api/errors
    """
    return _OLDER.search(model) is not None
