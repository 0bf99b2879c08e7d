"""Reads what a provider says of an error, in any of the forms that are about.

OpenAI `{"error": {…}}`, Ollama `{"error": "…"}`, older vLLM `{"object": "error", "message": …}`,
Google's list of one error, FastAPI's `{"detail": …}`, and the HTML page of a proxy in between.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

#: A provider's message is cut here; a page that is no message sooner.
MESSAGE_CHARS: Final = 2000
PAGE_CHARS: Final = 200

#: What Anthropic tells in words alone, by their beginnings, beside a type that says nothing of it:
#: https://platform.claude.com/docs/en/api/errors. Words may change; then it is a plain 400 again.
_WORDED: Final = (
    ("prompt is too long", "context_length_exceeded"),
    ("input length and `max_tokens` exceed context limit", "context_length_exceeded"),
    ("You have reached your specified", "organization_spend_limit_exceeded"),
)
#: What Azure's filter calls itself, also where the code beside it says less.
_FILTERED: Final = "ResponsibleAIPolicyViolation"

_PAGE_NOISE: Final = re.compile(r"(?is)<(script|style|head).*?</\1\s*>|<[^>]*>|\s+")
_TOO_LONG: Final = "exceeds the maximum number of tokens allowed"
_decoder = msgspec.json.Decoder()


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What an error's body says; an empty message: nothing."""

    #: Whether the body has the form of an error at all.
    is_error: bool = False
    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None
    #: The HTTP status that the body itself names; 0: none.
    status: int = 0
    #: The error object whole.
    fields: Mapping[str, object] = {}

    @property
    def moderated(self) -> bool:
        """Whether the request's content was refused (OpenRouter tells the reasons)."""
        metadata = self.fields.get("metadata")
        return isinstance(metadata, dict) and "reasons" in metadata

    @property
    def spend_capped(self) -> bool:
        """Whether Google refuses for a month's spending.

        No code tells it from a rate: both are RESOURCE_EXHAUSTED, and a rate's details may be
        missing too. So here, and nowhere else, the words decide.
        """
        google = self.fields.get("status") == "RESOURCE_EXHAUSTED"
        return google and "spending cap" in self.message and not any(violations(self.fields))


def violations(error: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Give the quotas that Google names as exceeded, each with `quotaId` and `quotaMetric`."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        exceeded = detail.get("violations") if isinstance(detail, dict) else None
        for violation in exceeded if isinstance(exceeded, list) else ():
            if isinstance(violation, dict):
                yield violation


def told(body: bytes) -> Told:
    """Read an error's body, whatever it is."""
    try:
        document: object = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Told(message=_page(body))
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return Told(message=_cut(str(document), PAGE_CHARS))
    error = document.get("error")
    if isinstance(error, dict) and error:
        found = _of_object(error)
        return _worded(found) if document.get("type") == "error" else found
    if isinstance(error, str) and error:
        return Told(is_error=True, message=_cut(error), type=_text(document.get("type")))
    if "error" in (document.get("object"), document.get("type")):
        return _of_object(document)
    return _of_other(document)


def _of_object(error: Mapping[str, object]) -> Told:
    code = error.get("code")
    details, inner = error.get("details"), error.get("innererror")
    if code is None and isinstance(details, dict):
        # Anthropic's, beside a type that says less.
        code = _text(details.get("error_code"))
    if isinstance(inner, dict) and inner.get("code") == _FILTERED:
        code = "content_filter"
    number = _status(code)
    if number:
        code = _google_code(error)
    return Told(
        is_error=True,
        message=_cut(_text(error.get("message")) or _text(error.get("status")) or ""),
        type=_text(error.get("type")) or _text(error.get("status")),
        code=None if code is None else str(code),
        param=_text(error.get("param")),
        status=number,
        fields=error,
    )


def _worded(found: Told) -> Told:
    """Give an error of Anthropic's the code that its words stand for."""
    if found.code or found.type != "invalid_request_error":
        return found
    codes = (code for start, code in _WORDED if found.message.startswith(start))
    return msgspec.structs.replace(found, code=next(codes, None))


def _google_code(error: Mapping[str, object]) -> str | None:
    """Find what stands in place of a code beside the number that is Google's.

    Its details name a reason, but for a prompt that is too long: INVALID_ARGUMENT says nothing,
    so the words decide (https://github.com/google-gemini/gemini-cli/issues/4231).
    """
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and (reason := _text(detail.get("reason"))):
            return reason
    message = _text(error.get("message")) or ""
    long = error.get("status") == "INVALID_ARGUMENT" and _TOO_LONG in message
    return "context_length_exceeded" if long else None


def _of_other(document: Mapping[str, object]) -> Told:
    """Read an object that is an error by its status alone."""
    said = document.get("message") or document.get("detail") or document.get("errors")
    if not said:
        return Told()
    message = said if isinstance(said, str) else msgspec.json.encode(said).decode()
    return Told(message=_cut(message), type=_text(document.get("type")), fields=document)


def _status(code: object) -> int:
    """Tell the status that stands in place of a code, as a number or in digits."""
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
        code = int(code)
    return code if isinstance(code, int) and 300 <= code < 600 else 0


def _page(body: bytes) -> str:
    text = body[:65536].decode("utf-8", "replace")
    return _cut(_PAGE_NOISE.sub(" ", text), PAGE_CHARS)


def _cut(text: str, length: int = MESSAGE_CHARS) -> str:
    text = " ".join(text.split()) if length == PAGE_CHARS else text.strip()
    return text if len(text) <= length else f"{text[:length]}…"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
