"""Each form against the simulated provider, which speaks it too, in a process of its own."""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec
import pytest

from pipeline.errors import Cause, Failure
from tests.conformance.forms import Form
from tests.conformance.ground import PATIENT, Made, make_with
from tests.conformance.legal import check_chunks
from tests.conformance.listed import FORMS
from tests.providers.simulated_process import SimulatedProcess
from workers.providers.base import ProviderCall

#: It speaks OpenAI's form below /v1 alone, and each other form at its own place.
BASES: Final = {"openrouter": "/v1"}
#: One that it has never heard of.
DIFFERENT: Final = ("compatible",)
SPOKEN: Final = [form for form in FORMS if form.name not in DIFFERENT]
EMBEDDING: Final = [
    form for form in SPOKEN if any(one.operation == "embeddings" for one in form.exchanges)
]
#: Those who tell their limits with each answer.
LEARNT: Final = [form for form in SPOKEN if form.kind in ("openai", "simulated", "anthropic")]

FAULTS: Final[dict[str, tuple[Cause, Cause]]] = {
    # What is asked of it: the cause of a whole call's failure, and of a stream's.
    "error=400": ("bad_request", "bad_request"),
    "error=401": ("credentials", "credentials"),
    "error=403": ("credentials", "credentials"),
    "error=404": ("model_not_found", "model_not_found"),
    "error=429,retry_after_ms=1500": ("rate_limited", "rate_limited"),
    "error=500": ("network", "network"),
    "error=503": ("overloaded", "overloaded"),
    "error=529": ("overloaded", "overloaded"),
    "bad_key=sk-test": ("credentials", "credentials"),
    "cut_at=4": ("network", "interrupted"),
    "garbage=4": ("network", "network"),
}

each_form = pytest.mark.parametrize("form", SPOKEN, ids=lambda form: form.name)


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    with SimulatedProcess("tokens=8") as process:
        yield process


def call_of(
    process: SimulatedProcess, form: Form, options: str = "", **more: object
) -> ProviderCall:
    """Make a call that is to go as the options say."""
    home = process.url.removesuffix("/v1")
    call = ProviderCall(
        request_id="r1",
        base_url=home + BASES.get(form.name, form.base),
        kind=form.kind,
        model="fast",
        key="sk-test-simulated",
        body=b'{"messages":[{"role":"user","content":"hi there"}]}',
        timeout=PATIENT,
    )
    call = msgspec.structs.replace(call, **{**form.call, "key": call.key, **more})
    wishes = (("X-Simulate", options),) if options else ()
    return msgspec.structs.replace(call, headers=(*call.headers, *wishes))


def made(call: ProviderCall) -> Made:
    """Make a call of the process."""
    return asyncio.run(make_with(call))


@each_form
def test_a_stream_adds_up_to_the_whole_answer(simulated: SimulatedProcess, form: Form) -> None:
    whole = made(call_of(simulated, form))
    streamed = made(call_of(simulated, form, stream=True))
    check_chunks(streamed.deltas)
    assert said(whole) == said(streamed) != ""
    for one in (whole, streamed):
        assert one.reply is not None
        assert one.reply.usage is not None
        assert one.reply.usage.completion_tokens == 8
        assert one.reply.finish_reason == "stop"


@each_form
@pytest.mark.parametrize("options", FAULTS)
def test_each_fault_has_its_cause(simulated: SimulatedProcess, form: Form, options: str) -> None:
    whole = failure(made(call_of(simulated, form, options)))
    streamed = failure(made(call_of(simulated, form, options, stream=True)))
    assert (whole.cause, streamed.cause) == FAULTS[options]
    if "retry" in options:
        assert whole.retry_after_s == pytest.approx(1.5, abs=0.6)


@pytest.mark.parametrize("form", LEARNT, ids=lambda form: form.name)
def test_limits_are_told_to_who_learns_them(simulated: SimulatedProcess, form: Form) -> None:
    reply = made(call_of(simulated, form, "rpm=60", key="sk-test-of-its-own")).reply
    assert reply is not None
    assert {one.dimension: one.limit for one in reply.seen} == {"rpm": 60}


@pytest.mark.parametrize("form", EMBEDDING, ids=lambda form: form.name)
def test_embeddings_are_as_many_as_inputs(simulated: SimulatedProcess, form: Form) -> None:
    body = b'{"input":["a","b","c"],"encoding_format":"base64"}'
    call = call_of(simulated, form, "dimensions=4", body=body, operation="embeddings")
    data = made(call).response["data"]
    assert isinstance(data, list)
    assert [len(one["embedding"]) for one in data] == [24, 24, 24]


def said(one: Made) -> str:
    """Give the answer's text."""
    choices = one.response["choices"]
    assert isinstance(choices, list)
    return str(choices[0]["message"]["content"])


def failure(one: Made) -> Failure:
    """Give the failure that a call has to be."""
    assert one.failure is not None
    return one.failure
