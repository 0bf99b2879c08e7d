"""The YAML of the LLM Queue library: Azure deployments, limits of users and of the queue.

Its README and its code name some keys differently; both names are taken.
"""

from collections.abc import Mapping
from typing import Final

from pipeline.errors import StartError
from pipeline.importing.addresses import address
from pipeline.importing.models import deployment
from pipeline.importing.part import Part, Reasons, Tools
from pipeline.importing.targets import Place, Served, Target, providers
from pipeline.importing.told import Imported, Report
from pipeline.importing.upstreams import UPSTREAMS
from pipeline.importing.variables import Variables
from pipeline.settings.file import Tree

_REASONS: Final[Reasons] = {
    "custom_models": (
        "their Python files are run by LLM Queue itself",
        "put the model behind an address in OpenAI's form, as a provider of kind compatible",
    ),
}
#: `model_type` of what answers chats; requests without a preference go to all of these.
_CHAT: Final = ("", "completion", "chat", "multimodal")
_EMBEDDINGS: Final = ("embeddings", "embedding")
#: The path of what is told once for all.
_EACH: Final = "azure_open_ai[…].azure_oai_models[…]"
#: What the model of all chat deployments is called.
_ANY: Final = "any-chat"


def read(tree: Mapping[str, object]) -> Imported:
    """Turn the tree into settings. Raises `StartError` where nothing can be taken."""
    tools = Tools(Report(), Variables(tree))
    top = Part("", tree, tools)
    targets: list[tuple[Target, str, str]] = []
    for entry in top.parts("azure_open_ai"):
        targets += _targets(entry)
    if not targets:
        raise StartError(
            "azure_open_ai: it holds no deployment that can be taken; expected a list of entries "
            "with api_key, azure_endpoint and azure_oai_models"
        )
    made, served = providers([target for target, _, _ in targets], tools.report)
    models = _models(served, targets)
    if _ANY in models:
        why = f"requests without a preference ask for the model {_ANY}, which is the default"
        tools.report.differs("azure_open_ai", None, why)
    settings: Tree = {"gateway": {"default_model": _default(models, targets)}}
    _add_scheduler(settings, top.part("scheduler_limits"))
    settings |= {"providers": made, "models": models}
    _add_users(settings, top.part("user_limits"))
    top.rest(_REASONS)
    return Imported(
        settings=settings,
        unmatched=tools.report.unmatched,
        differing=tools.report.differing,
        variables=tools.variables.listed(),
        samples=tools.variables.samples,
    )


def _targets(entry: Part) -> list[tuple[Target, str, str]]:
    """Read one Azure resource: its targets, each with its type and the name of its model."""
    variables, report = entry.tools.variables, entry.tools.report
    kind = entry.text("api_type")
    if kind not in ("", "azure"):
        report.lost(entry.at("api_type"), kind, "only azure is known", "see `sluice check`")
    place = Place(
        kind="azure",
        base_url=address(entry, "azure_endpoint", UPSTREAMS["azure"], "azure"),
        api_version=entry.plain("api_version", "2024-10-21"),
    )
    text = entry.text("api_key")
    path = entry.at("api_key")
    key = variables.secret(text, "AZURE_KEY", path) if text else _default_key(entry)
    found = [_target(one, place, key) for one in entry.parts("azure_oai_models")]
    entry.rest({"use_azure_ad": ("Sluice shows Azure a key", "create one for the resource")})
    return [one for one in found if one is not None]


def _default_key(entry: Part) -> str:
    return entry.tools.variables.use("AZURE_API_KEY", f"{entry.at('api_key')}, which is not set")


def _target(one: Part, place: Place, key: str) -> tuple[Target, str, str] | None:
    base = one.text("model_name_in_azure")
    model = one.plain("deployment_name_in_azure") or base
    name = one.text("unique_model_id") or model
    if not name:
        one.tools.report.lost(
            one.path, None, "neither unique_model_id nor deployment_name_in_azure"
        )
        return None
    mode = one.text("model_type").lower()
    if mode not in (*_CHAT, *_EMBEDDINGS):
        one.tools.report.lost(
            one.at("model_type"), mode, "Sluice serves chats and embeddings", "it is left out"
        )
        return None
    limits = {"rpm": one.count("req_per_min"), "tpm": one.count("tokens_per_min")}
    if limits["tpm"] is not None:
        one.tools.report.differs(
            f"{_EACH}.tokens_per_min", None, "LLM Queue does not enforce it, and Sluice does"
        )
    target = Target(
        path=one.path,
        name=name,
        model=model or name,
        wish="azure",
        place=place,
        key=key,
        limits={key: value for key, value in limits.items() if value is not None},
        cooldown_s=_cooldown(one),
    )
    one.take("track_tokens")  # Sluice always does.
    one.rest({})
    return target, ("embeddings" if mode in _EMBEDDINGS else "chat"), base


def _cooldown(one: Part) -> int | float | str | None:
    found = one.amount("error_backoff_in_seconds")
    if found is not None:
        one.tools.report.differs(
            f"{_EACH}.error_backoff_in_seconds",
            None,
            "it is how long a key rests after a 429 that names no time; after other errors a "
            "deployment rests as providers.*.breaker says",
        )
    return found


def _models(served: list[Served], targets: list[tuple[Target, str, str]]) -> Tree:
    """Name each deployment by its id; those of one model, and all chats, by a name of their own."""
    groups: dict[str, list[Served]] = {}
    facts = {id(target): (mode, base) for target, mode, base in targets}
    for one in served:
        mode, base = facts[id(one.target)]
        groups.setdefault(one.target.name, []).append(one)
        if base and base != one.target.name:
            groups.setdefault(base, []).append(one)
        if mode == "chat":
            groups.setdefault(_ANY, []).append(one)
    names = {target.name for target, _, _ in targets}
    kept = {name: group for name, group in groups.items() if name in names or len(group) > 1}
    return {name: _model(group) for name, group in kept.items()}


def _model(group: list[Served]) -> Tree:
    listed: list[Tree] = []
    for one in group:
        written = deployment(one)
        if written not in listed:
            listed.append(written)
    return (
        {"strategy": "round_robin", "deployments": listed}
        if len(listed) > 1
        else {"deployments": listed}
    )


def _default(models: Tree, targets: list[tuple[Target, str, str]]) -> str:
    """Choose what a request without a preference goes to."""
    chats = [target.name for target, mode, _ in targets if mode == "chat"]
    return _ANY if _ANY in models else next(iter(chats), targets[0][0].name)


def _add_scheduler(settings: Tree, part: Part) -> None:
    timeout_s = part.amount("request_timeout_seconds", "ttl_in_seconds")
    gateway = settings["gateway"]
    assert isinstance(gateway, dict)
    if timeout_s is not None:
        gateway["request_timeout_s"] = timeout_s
    most = part.count("max_queue_size")
    if most is not None:
        settings["gate"] = {"max_queue_size": most}
        part.tools.report.differs(
            part.at("max_queue_size"), most, "with us it holds for each waiting room by itself"
        )
    part.rest({})


def _add_users(settings: Tree, part: Part) -> None:
    """Make the users' limit one of a tenant, who needs a token."""
    requests = part.amount("max_num_requests_in_time_window")
    seconds = part.amount("time_window_in_seconds", "time_window_length_in_seconds")
    part.rest({})
    if requests is None:
        return
    token = part.tools.variables.made_up(
        "DEFAULT_TOKEN_HASH",
        "the hash of the token that clients show; `sluice token --tenant default` makes both",
        f"sha256:{'0' * 64}",
    )
    window = {"requests": requests, "seconds": 60 if seconds is None else seconds}
    users = {"default": {"window": window}}
    settings["tenants"] = {"default": {"tokens": [token], "users": users}}
    part.tools.report.differs(
        part.path,
        None,
        "users belong to a tenant with us, and a tenant shows a token",
        "let clients send it as their key, and name the user in `user` or in x-sluice-user",
    )
