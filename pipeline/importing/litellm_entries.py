"""LiteLLM's `model_list`: each entry becomes a target, unless nothing with us speaks to it."""

import re
from collections.abc import Mapping
from typing import Final

from pipeline.importing.addresses import address
from pipeline.importing.litellm_facts import (
    EACH,
    Defaults,
    abilities_of,
    limits_of,
    price_of,
    timeout_of,
)
from pipeline.importing.litellm_reasons import INFO, PARAMS, SENT
from pipeline.importing.part import Part, fits
from pipeline.importing.targets import Place, Target, host_label
from pipeline.importing.upstreams import UPSTREAMS, Upstream, foreign, kind_at, split
from pipeline.importing.variables import Variables
from pipeline.settings.fields import ModelName
from pipeline.settings.file import Tree
from pipeline.settings.secret import quote

#: What `mode` may be for what Sluice serves.
_MODES: Final = ("", "chat", "embedding")
_MEDIA: Final = re.compile(
    r"(?:^|[^a-z])(?:rerank|dall-e|gpt-image|whisper|tts|transcribe|moderation|realtime)"
)
#: Keys with which servers on one's own machine are content, as LiteLLM wants some key.
_NO_KEYS: Final = frozenset({"none", "empty", "null", "na", "n/a", "not-needed", "dummy"})
_SECRET_HEADERS: Final = re.compile(r"auth|key|token|secret|cookie", re.IGNORECASE)


def targets(top: Part, defaults: Defaults) -> list[Target]:
    """Read all entries."""
    credentials = _credentials(top)
    found = [_target(entry, credentials, defaults) for entry in top.parts("model_list")]
    return [one for one in found if one is not None]


def _credentials(top: Part) -> dict[str, Tree]:
    """Read the keys and addresses that entries refer to by a name."""
    found: dict[str, Tree] = {}
    for one in top.parts("credential_list"):
        values = one.take("credential_values")
        one.take("credential_info")
        name = one.text("credential_name")
        if name and isinstance(values, Mapping):
            found[name] = dict(values)
    return found


def _target(entry: Part, credentials: Mapping[str, Tree], defaults: Defaults) -> Target | None:
    name = entry.text("model_name")
    params, info = (
        _with_credentials(entry.part("litellm_params"), credentials),
        entry.part("model_info"),
    )
    prefix, model = split(params.text("model"), params.text("custom_llm_provider"))
    mode = info.text("mode")
    fault = _fault(name, prefix, model, mode)
    if fault:
        entry.tools.report.lost(entry.path, name, *fault)
        return None
    upstream = UPSTREAMS[prefix]
    place = _place(params, upstream, prefix)
    elsewhere = place.kind != upstream.kind
    wish = _wish(place, prefix, elsewhere=elsewhere)
    found = Target(
        path=entry.path,
        name=name,
        model=params.tools.variables.plain(model, params.at("model")),
        wish=wish,
        place=place,
        key="" if _has_token(place) else _key(params, upstream, wish, elsewhere=elsewhere),
        weight=params.number("weight"),
        order=params.number("order"),
        limits=limits_of(entry, params, defaults),
        details=price_of(params, info) | abilities_of(info),
        timeout=timeout_of(params, defaults),
        cooldown_s=params.amount("cooldown_time"),
        any_model=model == "*",
        embeds=mode == "embedding" or "embed" in model,
    )
    _tell_rest(entry, params, info, has_price="price" in found.details)
    return found


def _wish(place: Place, prefix: str, *, elsewhere: bool) -> str:
    """Choose a name for a provider; what only speaks OpenAI's form is not called openai."""
    if elsewhere:
        return host_label(place.base_url) or place.kind
    return "vllm" if prefix == "hosted_vllm" else prefix.removesuffix("_chat")


def _with_credentials(params: Part, credentials: Mapping[str, Tree]) -> Part:
    name = params.text("litellm_credential_name")
    if not name:
        return params
    if name not in credentials:
        path = params.at("litellm_credential_name")
        params.tools.report.lost(path, name, "credential_list has none of this name")
    members = dict(params.items())
    return Part(params.path, {**credentials.get(name, {}), **members}, params.tools)


def _fault(name: str, prefix: str, model: str, mode: str) -> tuple[str, str] | None:
    """Say why an entry cannot be taken, if so."""
    if not name or not model:
        return "model_name and litellm_params.model are needed", "mend it in the source"
    if not fits(name, ModelName):
        return "a model's name has 1 to 256 characters on one line", "name it otherwise"
    if mode not in _MODES or _MEDIA.search(model):
        return "Sluice serves chats and embeddings, and nothing else", ""
    return _pattern_fault(model, prefix) if "*" in model else _prefix_fault(prefix)


def _prefix_fault(prefix: str) -> tuple[str, str] | None:
    return None if prefix in UPSTREAMS else foreign(prefix)


def _pattern_fault(model: str, prefix: str) -> tuple[str, str] | None:
    if not prefix:
        return "it stands for all models of all providers", "name the providers, as in openai/*"
    if model != "*":
        return "a pattern with us is a whole provider's", "list the models, or use `*` alone"
    return _prefix_fault(prefix)


def _place(params: Part, upstream: Upstream, prefix: str) -> Place:
    base_url = address(params, "base_url" if "base_url" in params else "api_base", upstream, prefix)
    return Place(
        kind=kind_at(upstream, base_url),
        like=upstream.like,
        base_url=base_url,
        api_version=params.plain("api_version", "2024-10-21") if upstream.kind == "azure" else "",
        headers=tuple(_headers(params, prefix).items()),
    )


def _has_token(place: Place) -> bool:
    return any(name.lower() == "authorization" for name, _ in place.headers)


def _headers(params: Part, prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    organization = params.take("organization")
    if isinstance(organization, str):
        path = params.at("organization")
        found["OpenAI-Organization"] = params.tools.variables.plain(organization, path)
    elif organization is not None:
        why = "a provider with us belongs to one organization"
        params.tools.report.lost(params.at("organization"), organization, why, "add one for each")
    token = params.text("azure_ad_token") if prefix == "azure" else ""
    if token:
        path = params.at("azure_ad_token")
        reference = params.tools.variables.secret(token, "AZURE_AD_TOKEN", path)
        found["Authorization"] = f"Bearer {reference}"
        params.tools.report.differs(path, None, "it is shown as it is, and not renewed")
    for name, value in [*params.part("extra_headers").items(), *params.part("headers").items()]:
        path = f"{params.path}.extra_headers.{name}"
        found[name] = _header(params.tools.variables, name, str(value), (path, prefix))
    return found


def _header(variables: Variables, name: str, value: str, origin: tuple[str, str]) -> str:
    path, prefix = origin
    if _SECRET_HEADERS.search(name) or not quote(value).startswith('"'):
        wish = re.sub(r"\W", "_", f"{prefix}_{name}").upper()
        return variables.secret(value, wish, path)
    return variables.plain(value, path)


def _key(params: Part, upstream: Upstream, wish: str, *, elsewhere: bool) -> str:
    """Take the key, or refer to the variable in which LiteLLM looks for it."""
    text, path = params.text("api_key"), params.at("api_key")
    if text.lower() in _NO_KEYS:
        return ""
    if text:
        name = f"{re.sub(r'[^a-z0-9]', '_', wish.lower())}_KEY".upper()
        return params.tools.variables.secret(text, name, path)
    variable = upstream.key_variable
    if not variable:
        return ""
    if elsewhere:
        why = f"LiteLLM shows {variable} even to other servers, and Sluice shows them no key"
        params.tools.report.differs(f"{EACH}.api_key", None, why, "add it to providers.*.keys")
        return ""
    return params.tools.variables.use(variable, f"{path}, which is not set")


def _tell_rest(entry: Part, params: Part, info: Part, *, has_price: bool) -> None:
    if has_price:
        info.take("base_model")
    info.take("id")
    params.rest(PARAMS, SENT)
    info.rest(INFO)
    entry.rest({})
