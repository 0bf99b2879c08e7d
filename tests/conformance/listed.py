"""The list of all forms; a kind that is missing here fails a test."""

from typing import Final

from tests.conformance.forms import Error, Exchange, Form, Refused
from tests.conformance.forms_anthropic import ANTHROPIC
from tests.conformance.forms_azure import AZURE, AZURE_DATED
from tests.conformance.forms_compatible import COMPATIBLE
from tests.conformance.forms_gemini import GEMINI
from tests.conformance.forms_ollama import OLLAMA
from tests.conformance.forms_openai import OPENAI, SIMULATED
from tests.conformance.forms_openrouter import OPENROUTER
from tests.conformance.forms_vllm import VLLM

FORMS: Final[tuple[Form, ...]] = (
    OPENAI,
    SIMULATED,
    AZURE,
    AZURE_DATED,
    OPENROUTER,
    OLLAMA,
    VLLM,
    COMPATIBLE,
    ANTHROPIC,
    GEMINI,
)

EXCHANGES: Final[dict[str, tuple[Form, Exchange]]] = {
    f"{form.name}-{exchange.name}": (form, exchange)
    for form in FORMS
    for exchange in form.exchanges
}
REFUSED: Final[dict[str, tuple[Form, Refused]]] = {
    f"{form.name}-{refused.name}": (form, refused) for form in FORMS for refused in form.refused
}
ERRORS: Final[dict[str, tuple[Form, Error]]] = {
    f"{form.name}-{error.name}": (form, error) for form in FORMS for error in form.errors
}
