"""`sluice check`: tells every fault of the configuration, and whether its Redis will do."""

import sys
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
import yaml

from pipeline.cli import place
from pipeline.cli.options import Where
from pipeline.cli.tenants import lines
from pipeline.errors import RedisUnavailable, SettingsError
from pipeline.settings.load import Settings, TenantSettings
from pipeline.settings.secret import TokenHash

#: The oldest Redis on which everything works.
MIN_REDIS: Final = (6, 2)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be told."""

    show: bool
    redis: bool
    as_json: bool


class Verdict(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What was found, as it is printed with --json."""

    valid: bool
    source: str
    faults: list[str] = []
    warnings: list[str] = []
    #: Each tenant as configured, its tokens as ids.
    tenants: Mapping[str, TenantSettings] = {}
    #: The effective configuration, secrets masked.
    settings: dict[str, object] = {}


def run(where: Where, asked: Asked) -> int:
    """Print what is wrong or doubtful; gives 1 when the configuration cannot be used."""
    verdict = _judge(where, asked)
    if asked.as_json:
        print(msgspec.json.encode(verdict, enc_hook=_hidden).decode())
    else:
        _print(verdict)
    return 0 if verdict.valid else 1


def _judge(where: Where, asked: Asked) -> Verdict:
    try:
        settings = place.load_settings(where)
    except SettingsError as error:
        return Verdict(valid=False, source=str(where.config or ""), faults=error.faults)
    verdict = Verdict(
        valid=True,
        source=settings.source,
        warnings=list(settings.left_out),
        tenants=settings.tenants,
    )
    if asked.show:
        verdict.settings = masked(settings)
    if asked.redis:
        try:
            verdict.warnings += _of_redis(where)
        except RedisUnavailable as error:
            verdict.valid = False
            verdict.faults.append(error.message)
    return verdict


def _hidden(value: object) -> str:
    return value.id if isinstance(value, TokenHash) else str(value)


def _print(verdict: Verdict) -> None:
    for fault in verdict.faults:
        print(f"sluice: {fault}", file=sys.stderr)
    for warning in verdict.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if verdict.settings:
        print(yaml.safe_dump(verdict.settings, sort_keys=False, allow_unicode=True), end="")
    elif verdict.valid:
        print(f"The configuration is valid ({verdict.source}).")
        for name, tenant in verdict.tenants.items():
            print("\n".join(lines(name, tenant)))


def masked(settings: Settings) -> dict[str, object]:
    """Give the effective configuration in the file's form, secrets masked."""
    plain: dict[str, object] = msgspec.to_builtins(settings, enc_hook=str, str_keys=True)
    for ours in ("source", "left_out"):
        plain.pop(ours, None)
    redis = plain["redis"]
    assert isinstance(redis, dict)
    redis["url"] = redis["url"] or place.shown(settings.redis.address)
    return _listed(plain)


def _listed(tree: dict[str, object]) -> dict[str, object]:
    """Turn tuples into lists, which YAML can write, and leave out what is not set."""
    return {name: _plain(value) for name, value in tree.items() if value is not None}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return _listed(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _of_redis(where: Where) -> Iterator[str]:
    spot = place.find(where)
    with spot.client() as client:
        info = client.info()
        version = str(info["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < MIN_REDIS:
            yield f"Redis at {spot.shown_url} is {version}; 6.2 or later is needed"
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            yield f"Redis evicts ({policy}): accepted requests may be lost; use noeviction"
        if not info.get("aof_enabled"):
            yield "Redis has appendonly off: accepted requests are lost when it ends"
