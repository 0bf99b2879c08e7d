"""What the tests of the hops share: a configuration of faulty deployments, and a call's means."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from pipeline.catalog import Catalog
from pipeline.event import Event, Lease
from pipeline.limits.admission import Admission
from pipeline.settings.load import Settings, load
from pipeline.streams.cancels import Cancels
from pipeline.streams.ingress import Ingress
from pipeline.streams.link import Link
from pipeline.streams.replies import Replies
from tests.streams import rig
from tests.streams.rig import NAMES
from workers.call import Means
from workers.providers.upstream import Upstream

#: What each model's deployments do, in the order in which they are tried.
MODELS: Final[Mapping[str, Sequence[str]]] = {
    "plain": ["one:tokens=3"],
    "spare": ["two:error=503", "three:tokens=3"],
    "broken": ["four:error=500", "five:error=503"],
    "busy": ["ten:error=429,retry_after_ms=1500"],
    "refusing": ["six:error=400", "three:tokens=3"],
    "locked": ["seven:error=401"],
    "cut": ["eight:cut_at=2,tokens=9,tps=200", "three:tokens=3"],
    "long": ["nine:tokens=2000,tps=100"],
}


def settings_for(directory: Path, provider_url: str, **sections: object) -> Settings:
    """Load a configuration with one provider and the models above."""
    file = directory / "sluice.yaml"
    models = {
        name: {"deployments": [{"provider": "sim", "model": model} for model in deployments]}
        for name, deployments in MODELS.items()
    }
    provider = {"kind": "simulated", "base_url": provider_url, "limits": {"concurrency": 50}}
    gateway = {"default_model": "plain"}
    sections = {"retry": {"quick": 0}, "ladder": [], **sections}
    tree = {"providers": {"sim": provider}, "models": models, "gateway": gateway, **sections}
    file.write_text(json.dumps(tree))
    return load(file, environ={})


class Bench:
    """The means of a call, and requests for it."""

    def __init__(self, link: Link, settings: Settings) -> None:
        self.link = link
        self.settings = settings
        self.bodies: dict[str, bytes] = {}
        self.catalog = Catalog(settings)
        self.admission = Admission(link, NAMES, settings, self.catalog)
        self.upstream = Upstream()
        self.means = Means(
            catalog=self.catalog,
            admission=self.admission,
            upstream=self.upstream,
            replies=Replies(link, NAMES),
            body_of=self._body_of,
            cancels=Cancels(link, NAMES),
            retry=settings.retry,
        )

    async def _body_of(self, request_id: str) -> bytes | None:
        return self.bodies.get(request_id)

    async def accepted(self, model: str, **changes: object) -> Event:
        """Accept a request for a model, plan it and take a lease on its first candidate."""
        body = b'{"model":"%s","messages":[{"role":"user","content":"hi"}]}' % model.encode()
        plan = self.catalog.candidates(model)
        event = rig.make_event(model=model, body=msgspec.Raw(body), body_bytes=len(body), plan=plan)
        event = msgspec.structs.replace(event, **changes)
        await Ingress(self.link, NAMES).accept(event, body)
        return await self.leased(event)

    async def leased(self, event: Event) -> Event:
        """Take a lease that has to be there."""
        lease = await self.admission.admit(event)
        assert isinstance(lease, Lease)
        return msgspec.structs.replace(event, lease=lease)


@asynccontextmanager
async def bench(link: Link, settings: Settings) -> AsyncIterator[Bench]:
    """Set up a bench and close its connections."""
    here = Bench(link, settings)
    await here.admission.publish()
    try:
        yield here
    finally:
        await here.admission.settled()
        await here.upstream.close()
