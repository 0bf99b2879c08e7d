"""A law of fitting: who cannot serve a request is left out and told of, and no one else is."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog import Catalog, Deployment
from pipeline.errors import BadRequest
from pipeline.event import Candidate, Event
from pipeline.settings.load import DeploymentSettings, ModelSettings, ProviderSettings, Settings
from tests.streams.rig import make_event

flags = st.none() | st.booleans()
listed = st.builds(
    DeploymentSettings,
    provider=st.just("p"),
    model=st.sampled_from("abcdefgh"),
    context_tokens=st.none() | st.integers(1, 9_000),
    vision=flags,
    tools=flags,
    vector_size=st.none() | st.just(3),
)


@given(
    st.lists(listed, min_size=1, max_size=8, unique_by=lambda one: one.model),
    st.sampled_from(["chat", "embeddings"]),
    st.sets(st.sampled_from(["vision", "tools"])).map(tuple),
    st.integers(0, 20_000),
)
def test_a_fit_leaves_out_who_cannot_serve_and_tells_of_each(
    deployments: list[DeploymentSettings], operation: str, needs: tuple[str, ...], tokens: int
) -> None:
    models = {"m": ModelSettings(deployments=tuple(deployments))}
    catalog = Catalog(Settings(providers={"p": ProviderSettings(kind="vllm")}, models=models))
    event = make_event(operation=operation, needs=needs, prompt_tokens=tokens)
    whole = catalog.candidates("m")
    kept: tuple[Candidate, ...] = ()
    try:
        fit = catalog.fit(event)
    except BadRequest as refused:
        told = refused.message
    else:
        told, kept = fit.left_out, fit.plan
        assert_able([catalog.deployment(one.deployment) for one in kept], event)
    assert kept == tuple(one for one in whole if f"{one.deployment}: " not in told)


def assert_able(kept: list[Deployment], event: Event) -> None:
    """Check that all can serve a request, or are the largest of those that can."""
    assert kept
    assert not any(one.vision is False for one in kept if "vision" in event.needs)
    assert not any(one.tools is False for one in kept if "tools" in event.needs)
    assert not any(one.vector_size for one in kept if event.operation == "chat")
    sizes = [one.context_tokens for one in kept]
    is_small = [size is not None and size < event.prompt_tokens / 1.5 for size in sizes]
    assert not any(is_small) or (all(is_small) and len(set(sizes)) == 1)
