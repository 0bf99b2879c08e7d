"""What LiteLLM's server has of its own: the Redis it shares, its master key, its limits."""

from typing import Final
from urllib.parse import quote, urlsplit

from pipeline.importing.part import Part
from pipeline.importing.variables import Variables, referred
from pipeline.settings.file import Tree

_BYTES: Final = 1_048_576
_LOOPBACK: Final = "127.0.0.1"


def add_redis(settings: Tree, router: Part, library: Part) -> None:
    """Write the address of the Redis that LiteLLM's router uses, else of its cache."""
    params = library.part("cache_params")
    url = _url(router, "redis_")
    if not url and params.text("type") in ("", "redis"):
        url = _url(params, "")
    params.rest({}, ("answers are not cached", ""))
    if not url:
        return
    settings["redis"] = {"url": url}
    router.tools.report.differs(
        "redis.url",
        None,
        "Sluice keeps requests in it, where LiteLLM counts and caches",
        "it wants Redis 6.2 or later with maxmemory-policy noeviction and appendonly; "
        "`sluice check --redis` tells",
    )


def _url(part: Part, prefix: str) -> str:
    variables = part.tools.variables
    whole, host = part.text(f"{prefix}url"), part.text(f"{prefix}host")
    port, database = part.text(f"{prefix}port"), part.text(f"{prefix}db")
    user, password = part.text(f"{prefix}username"), part.text(f"{prefix}password")
    scheme = "rediss" if part.flag(f"{prefix}ssl") else "redis"
    if whole:
        return _whole(variables, whole, part.at(f"{prefix}url"))
    if not host:
        return ""
    address = variables.plain(host, part.at(f"{prefix}host"), _LOOPBACK)
    if port:
        address += f":{variables.plain(port, part.at(f'{prefix}port'), '6379')}"
    if password:
        path = part.at(f"{prefix}password")
        secret = variables.secret(password, "REDIS_PASSWORD", path)
        address = f"{quote(user, safe='')}:{secret}@{address}"
        why = "it becomes a part of redis.url"
        part.tools.report.differs(path, None, why, "percent-encode what is not a letter or digit")
    return f"{scheme}://{address}/{database or 0}"


def _whole(variables: Variables, text: str, path: str) -> str:
    """Refer to an address as a whole where it is, or holds, a secret."""
    name = referred(text)
    if name:
        return variables.use(name, path, "redis://127.0.0.1:6379/0")
    if "@" not in text and not urlsplit(text).query:
        return text.replace("$", "$$")
    return variables.made_up("REDIS_URL", path, "redis://127.0.0.1:6379/0", in_source=True)


def add_server(settings: Tree, general: Part) -> None:
    """Write who may ask, how much may be sent, and who the user is."""
    gateway = settings["gateway"]
    assert isinstance(gateway, dict)
    size = general.number("max_request_size_mb")
    if size:
        gateway["max_body_bytes"] = int(size * _BYTES)
    header = general.text("user_header_name")
    if header:
        gateway["user_header"] = header
    key = general.text("master_key")
    if key:
        settings["tenants"] = {"default": _tenant(general)}
    report = general.tools.report
    report.differs(
        "the server",
        None,
        "LiteLLM listens on 0.0.0.0:4000, Sluice on 127.0.0.1:8080",
        "see gateway.host and gateway.port",
    )


def _tenant(general: Part) -> Tree:
    """Make the tenant who shows what was the master key, of which we keep the hash."""
    path = general.at("master_key")
    token = general.tools.variables.made_up(
        "MASTER_KEY_HASH",
        f"the hash of {path}; `sluice token --hash` makes it of the key",
        f"sha256:{'0' * 64}",
    )
    made: Tree = {"tokens": [token]}
    most = general.count("global_max_parallel_requests")
    if most is not None:
        made["limits"] = {"concurrency": most}
    general.tools.report.differs(
        path,
        None,
        "whoever shows it is the tenant `default`, and no operator",
        "make an operator's token with `sluice token --admin`, and tenants for LiteLLM's teams",
    )
    return made
