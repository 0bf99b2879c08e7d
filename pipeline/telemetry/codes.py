"""Which of an error's words may be told: a provider may put anything into its code, prompts too."""

from typing import Final

from pipeline.errors import Cause, Failure

#: With these causes the code may be a provider's own, which may be anything, the prompt too.
_CITING: Final[frozenset[Cause]] = frozenset({"bad_request", "model_not_found", "rate_limited"})
#: Codes that are told all the same: ours, and those of providers that say more than the cause.
_KNOWN: Final = frozenset(
    {
        "body_too_large", "content_filter", "content_policy_violation", "context_length_exceeded",
        "invalid_request", "invalid_value", "model_not_found", "no_access", "rate_limit_exceeded",
        "rate_limited", "request_too_heavy", "string_above_max_length", "unsupported_parameter",
        "unsupported_value",
    }
)  # fmt: skip


def code_of(failure: Failure) -> str | None:
    """Give a failure's code, if it is none that a provider may have made up."""
    return failure.code if failure.code in _KNOWN or failure.cause not in _CITING else None


def word_of(failure: Failure | None) -> str:
    """Name a failure by its code, else by its cause."""
    return (code_of(failure) or failure.cause) if failure else "unknown"
