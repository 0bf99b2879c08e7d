"""The way out through a proxy, over real sockets: plain and TLS, with a password and without."""

import asyncio
import ssl
from base64 import b64encode

import pytest

from pipeline.errors import UpstreamError
from tests.providers.proxies import Proxy, proxied, tls_pair
from tests.providers.served import Connection, Served, served
from tests.providers.shapes import CHUNKS, STREAM, WHOLE
from workers.providers.transport import AiohttpTransport
from workers.providers.upstream import Upstream

USER, PASSWORD = "egress", "p4ss:w/rd%"
WANTED = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
USERINFO = f"{USER}:p4ss%3Aw%2Frd%25"
HOST = "provider.test"
SECRETS = (PASSWORD, USERINFO, "p4ss%3Aw%2Frd%25", WANTED.removeprefix("Basic "), "p4ss")


async def answer(connection: Connection) -> None:
    """Answer a chat, whole or as a stream."""
    if b'"stream":true' in connection.request.body:
        await connection.begin()
        await connection.piece(STREAM)
        await connection.piece(b"")
    else:
        await connection.answer(200, WHOLE)


def address(proxy: Proxy, userinfo: str = USERINFO) -> str:
    """Write the proxy's address as the settings have it."""
    return f"http://{userinfo}@127.0.0.1:{proxy.port}"


async def both_ways(upstream: Upstream, here: Served, base_url: str, proxy: Proxy) -> None:
    """Make a whole call and a stream through the proxy."""
    proxy.target = int(here.base_url.split(":")[2].split("/")[0])
    call = here.call(base_url=base_url, proxy=address(proxy))
    assert (await upstream.complete(call)).response == WHOLE
    stream = upstream.stream(here.call(base_url=base_url, proxy=address(proxy), stream=True))
    assert [chunk async for deltas in stream for chunk in deltas.chunks] == CHUNKS


def test_a_plain_upstream_is_reached_through_the_proxy() -> None:
    async def scenario() -> list[tuple[str, str]]:
        async with served(answer) as here, proxied(WANTED) as proxy:
            await both_ways(here.upstream, here, f"http://{HOST}/v1", proxy)
            assert "proxy-authorization" not in here.requests[0].headers
            return proxy.asked

    line = f"POST http://{HOST}/v1/chat/completions HTTP/1.1"
    assert set(asyncio.run(scenario())) == {(line, WANTED)}


def test_an_upstream_with_tls_is_reached_through_a_tunnel() -> None:
    for_server, for_client = tls_pair(HOST)

    async def scenario() -> list[tuple[str, str]]:
        async with served(answer, tls=for_server) as here, proxied(WANTED) as proxy:
            upstream = trusting(for_client)
            try:
                await both_ways(upstream, here, f"https://{HOST}/v1", proxy)
            finally:
                await upstream.close()
            assert here.requests[0].headers["authorization"].startswith("Bearer ")
            assert "proxy-authorization" not in here.requests[0].headers
            return proxy.asked

    asked = asyncio.run(scenario())
    assert set(asked) == {(f"CONNECT {HOST}:443 HTTP/1.1", WANTED)}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "refusal",
    [b"", b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n", b"\x16garbage\r\n\r\n"],
    ids=["wrong-password", "refused", "garbage"],
)
def test_a_proxy_that_refuses_is_a_network_failure_without_its_password(
    scheme: str, refusal: bytes
) -> None:
    async def scenario() -> str:
        async with served(answer) as here, proxied("Basic other") as proxy:
            proxy.refusal = refusal
            call = here.call(base_url=f"{scheme}://{HOST}/v1", proxy=address(proxy))
            with pytest.raises(UpstreamError) as raised:
                await here.upstream.complete(call)
            assert raised.value.cause == "network"
            assert here.requests == []
            if refusal == b"":
                assert "407" in raised.value.message
                assert not raised.value.sent
            return told(raised.value)

    said = asyncio.run(scenario())
    assert not [secret for secret in SECRETS if secret in said]


def test_a_proxy_that_is_not_there_is_named_without_its_password() -> None:
    async def scenario() -> str:
        async with served(answer) as here:
            async with proxied() as proxy:
                call = here.call(base_url=f"http://{HOST}/v1", proxy=address(proxy))
            with pytest.raises(UpstreamError) as raised:
                await here.upstream.complete(call)
            assert raised.value.cause == "network"
            assert not raised.value.sent
            return told(raised.value)

    said = asyncio.run(scenario())
    assert "through the proxy" in said
    assert not [secret for secret in SECRETS if secret in said]


def told(error: BaseException) -> str:
    """Give all that an error and those behind it say, as a log would write it."""
    said = [str(error)]
    if isinstance(error, UpstreamError):
        said += [repr(error), str(error.failure())]
    if error.__cause__ is not None:
        said.append(told(error.__cause__))
    return "\n".join(said)


def trusting(context: ssl.SSLContext) -> Upstream:
    """Make a client that trusts the test's certificate."""
    transport = AiohttpTransport()
    transport._tls = context
    return Upstream(transport)
