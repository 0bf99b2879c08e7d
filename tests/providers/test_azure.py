"""Azure's addresses and what older versions of its API refuse; the simulated provider as Azure."""

import asyncio
from collections.abc import Iterator, Sequence

import msgspec
import openai
import pytest

from pipeline.errors import UpstreamError
from tests.providers.served import KEY
from tests.providers.simulated_process import SimulatedProcess
from workers.providers.azure import Azure
from workers.providers.base import ProviderCall
from workers.providers.upstream import Upstream

HI = b'{"model":"fast","messages":[{"role":"user","content":"hi"}],"stream":true}'


def call(base_url: str = "https://n.openai.azure.com", **changes: object) -> ProviderCall:
    """Make a call of Azure."""
    plain = ProviderCall(
        request_id="r1", base_url=base_url, kind="azure", model="m-1", key=KEY, body=HI
    )
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize("tail", ["", "/", "/openai", "/openai/", "/openai/v1", "/openai/v1/"])
@pytest.mark.parametrize(
    ("version", "path"),
    [
        ("", "/openai/v1/chat/completions"),
        ("preview", "/openai/v1/chat/completions?api-version=preview"),
        ("2024-10-21", "/openai/deployments/m-1/chat/completions?api-version=2024-10-21"),
    ],
)
def test_the_base_url_may_be_any_that_azure_shows(tail: str, version: str, path: str) -> None:
    asked = call(f"https://n.openai.azure.com{tail}", api_version=version)
    assert str(Azure().request(asked).url) == f"https://n.openai.azure.com{path}"


def test_a_deployments_name_is_quoted_in_the_path() -> None:
    asked = call(model="a b/c?d", api_version="2024-10-21")
    assert "/deployments/a%20b%2Fc%3Fd/chat" in str(Azure().request(asked).url)


@pytest.mark.parametrize(
    ("version", "asks"), [("", True), ("2024-10-21", True), ("2024-06-01", False)]
)
def test_older_versions_are_not_asked_for_a_streams_usage(version: str, asks: bool) -> None:
    request = Azure().request(call(api_version=version, stream=True))
    assert ("stream_options" in msgspec.json.decode(request.read())) == asks


def test_a_token_of_entra_id_comes_with_the_headers_alone() -> None:
    asked = call(key="", headers=(("Authorization", "Bearer token-of-entra"),))
    headers = Azure().request(asked).headers
    assert headers["authorization"] == "Bearer token-of-entra"
    assert "api-key" not in headers


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    with SimulatedProcess("tokens=8") as process:
        yield process


@pytest.mark.parametrize("version", ["", "2024-10-21"])
@pytest.mark.parametrize("operation", ["chat", "embeddings"])
def test_the_simulated_provider_answers_as_azure(
    simulated: SimulatedProcess, version: str, operation: str
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "input": ["a", "b"]}
    asked = call(
        simulated.url.removesuffix("/v1"),
        api_version=version,
        operation=operation,
        body=msgspec.json.encode(body),
    )
    reply = made(asked)
    assert str(reply["model"]) == "m-1"
    assert len(reply["data" if operation == "embeddings" else "choices"]) > 0


def test_the_simulated_provider_knows_azures_key(simulated: SimulatedProcess) -> None:
    options = (("X-Simulate", "bad_key=sk-test"),)
    with pytest.raises(UpstreamError) as raised:
        made(call(simulated.url.removesuffix("/v1"), headers=options))
    assert raised.value.cause == "credentials"


def test_azures_own_client_is_answered_by_the_simulated_provider(
    simulated: SimulatedProcess,
) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=simulated.url.removesuffix("/v1"),
        api_version="2024-10-21",
        api_key=KEY,
        max_retries=0,
    ) as client:
        answer = client.chat.completions.create(
            model="fast", messages=[{"role": "user", "content": "hi"}]
        )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


def made(asked: ProviderCall) -> dict[str, Sequence[object]]:
    """Make a whole call."""

    async def scenario() -> bytes:
        upstream = Upstream()
        try:
            return (await upstream.complete(asked)).response
        finally:
            await upstream.close()

    found: dict[str, Sequence[object]] = msgspec.json.decode(asyncio.run(scenario()))
    return found
