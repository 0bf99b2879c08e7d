"""What LiteLLM's entries say of a deployment: limits, prices, abilities and timeouts."""

from typing import Final

import msgspec

from pipeline.importing.part import Amount, Part
from pipeline.settings.file import Tree

_PER_MILLION: Final = 1_000_000
#: The path of what is told once for all entries.
EACH: Final = "model_list[…].litellm_params"


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for entries that set nothing else."""

    limits: dict[str, Amount] = {}
    timeout_s: Amount | None = None


def limits_of(entry: Part, params: Part, defaults: Defaults) -> dict[str, Amount]:
    """Take the limits of a deployment, which old files have beside `litellm_params`."""
    beside = {"rpm": entry.count("rpm"), "tpm": entry.count("tpm")}
    own = {
        "rpm": params.count("rpm"),
        "tpm": params.count("tpm"),
        "concurrency": params.count("max_parallel_requests"),
    }
    found = {**defaults.limits}
    for limits in (beside, own):
        found |= {key: value for key, value in limits.items() if value is not None}
    return found


def price_of(params: Part, info: Part) -> Tree:
    """Turn US dollars per token into those per million; both places may have them."""
    found: Tree = {}
    for key, ours in (
        ("input_cost_per_token", "prompt"),
        ("output_cost_per_token", "completion"),
        ("cache_read_input_token_cost", "cached"),
    ):
        both = [part.number(key) for part in (params, info)]
        given = next((value for value in both if value is not None), None)
        if given is not None:
            found[ours] = round(given * _PER_MILLION, 9)
    if found and "prompt" not in found:
        why = "a price with us begins with that of prompts, input_cost_per_token"
        params.tools.report.lost(params.path, None, why, "set the deployment's price")
        return {}
    return {"price": found} if found else {}


def abilities_of(info: Part) -> Tree:
    """Take what a model can do, as far as it is said."""
    counts = {
        "context_tokens": info.count("max_input_tokens"),
        "vector_size": info.count("output_vector_size"),
    }
    flags = {
        "vision": _said(info, "supports_vision"),
        "tools": _said(info, "supports_function_calling"),
    }
    return {key: value for key, value in (counts | flags).items() if value is not None}


def _said(info: Part, key: str) -> bool | None:
    return info.flag(key) if key in info else None


def timeout_of(params: Part, defaults: Defaults) -> dict[str, Amount]:
    """Limit the whole call and its beginning by `timeout`, and its pauses by `stream_timeout`."""
    found: dict[str, Amount] = {}
    total = _positive(params, "timeout", "request_timeout") or defaults.timeout_s
    if total:
        found |= {"first_byte_s": total, "total_s": total}
    idle = _positive(params, "stream_timeout")
    if idle is not None:
        found["idle_s"] = idle
        why = "with us it is the longest pause within any answer, streamed or not"
        params.tools.report.differs(f"{EACH}.stream_timeout", None, why)
    return found


def _positive(params: Part, *keys: str) -> Amount | None:
    found = params.amount(*keys)
    return None if found == 0 else found
