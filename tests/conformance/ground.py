"""Makes calls of a form against a socket that answers with its recordings."""

import asyncio

import msgspec

from pipeline.errors import Failure, UpstreamError
from tests.conformance.forms import Exchange, Form
from tests.providers.served import Connection, Request, Script, Served, served
from workers.providers.base import Deltas, ProviderCall, Reply, Timeouts
from workers.providers.upstream import Upstream

#: Hundreds of calls at once on a busy machine take their time, and no test here is of timeouts.
PATIENT = Timeouts(connect_s=60, first_byte_s=60, idle_s=60, total_s=120)


class Made(msgspec.Struct, kw_only=True):
    """What came of a call."""

    deltas: list[Deltas] = []
    reply: Reply | None = None
    failure: Failure | None = None
    requests: list[Request] = []

    @property
    def chunks(self) -> list[bytes]:
        """All chunks that were given."""
        return [data for deltas in self.deltas for data in deltas.chunks]

    @property
    def response(self) -> dict[str, object]:
        """What the client is told."""
        assert self.reply is not None, self.failure
        found: dict[str, object] = msgspec.json.decode(self.reply.response)
        return found


def call_of(here: Served, form: Form, exchange: Exchange) -> ProviderCall:
    """Make the call that an exchange records."""
    call = here.call(
        base_url=here.base_url.removesuffix("/v1") + form.base,
        kind=form.kind,
        body=msgspec.json.encode({"model": "fast", **exchange.asked}),
        stream=exchange.stream,
        operation=exchange.operation,
        timeout=PATIENT,
    )
    return msgspec.structs.replace(call, **form.call)


async def make(here: Served, call: ProviderCall) -> Made:
    """Make a call of a served provider to its end or its failure."""
    made = await _make(here.upstream, call)
    made.requests = here.requests
    return made


async def make_with(call: ProviderCall) -> Made:
    """Make one call, with a client of its own, to its end or its failure."""
    upstream = Upstream()
    try:
        return await _make(upstream, call)
    finally:
        await upstream.close()


async def _make(upstream: Upstream, call: ProviderCall) -> Made:
    made = Made()
    try:
        if call.stream:
            stream = upstream.stream(call)
            async for deltas in stream:
                made.deltas.append(deltas)
            made.reply = stream.reply()
        else:
            made.reply = await upstream.complete(call)
    except UpstreamError as raised:
        made.failure = raised.failure()
    return made


def made_with(script: Script, form: Form, exchange: Exchange) -> Made:
    """Make one call of a provider that does as the script says."""

    async def scenario() -> Made:
        async with served(script) as here:
            return await make(here, call_of(here, form, exchange))

    return asyncio.run(scenario())


def answering(exchange: Exchange, size: int = 0) -> Script:
    """Make a script that gives an exchange's answer, a stream in pieces of a size."""
    answer = exchange.answer
    size = size or len(answer)

    async def script(connection: Connection) -> None:
        if not exchange.stream:
            await connection.answer(200, answer)
            return
        await connection.begin()
        for start in range(0, len(answer), size):
            await connection.piece(answer[start : start + size])
        await connection.piece(b"")

    return script


def refusing(status: int, body: bytes, headers: dict[str, str]) -> Script:
    """Make a script that gives one answer that is no success."""

    async def script(connection: Connection) -> None:
        await connection.answer(status, body, **headers)

    return script
