"""The `config.yaml` of the LiteLLM proxy: its models, router, library and server settings."""

from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.errors import StartError
from pipeline.importing.litellm_entries import targets
from pipeline.importing.litellm_facts import Defaults
from pipeline.importing.litellm_names import Names, add_aliases, add_fallbacks
from pipeline.importing.litellm_reasons import GENERAL, LIBRARY, ROUTER, TOP
from pipeline.importing.litellm_server import add_redis, add_server
from pipeline.importing.models import agreed, model
from pipeline.importing.part import Amount, Part, Tools
from pipeline.importing.targets import Served, Target, providers
from pipeline.importing.told import Imported, Report
from pipeline.importing.variables import Variables
from pipeline.settings.file import Tree
from pipeline.settings.schema import GatewaySettings

#: LiteLLM's strategies, and ours.
_STRATEGIES: Final[Mapping[str, str]] = {
    "simple-shuffle": "weighted",
    "least-busy": "least_busy",
    "latency-based-routing": "latency",
    "cost-based-routing": "cost",
    "usage-based-routing": "least_busy",
    "usage-based-routing-v2": "least_busy",
}
_MAX_QUICK: Final = 10


def read(tree: Mapping[str, object]) -> Imported:
    """Turn the tree into settings. Raises `StartError` where nothing can be taken."""
    tools = Tools(Report(), Variables(tree))
    top = Part("", tree, tools)
    router, library = top.part("router_settings"), top.part("litellm_settings")
    general = top.part("general_settings")
    found = targets(top, _defaults(router, library, general))
    if not found:
        raise StartError(_nothing(tools.report))
    made, served = providers(found, tools.report)
    models = _models(agreed(served, tools.report), _strategy(router), tools.report)
    aliases: dict[str, str] = {}
    for part in (router.part("model_group_alias"), library.part("model_alias_map")):
        add_aliases(models, aliases, part)
    names = Names(models, aliases, {one.name for one in found if one.embeds})
    add_fallbacks(names, router, library)
    _tell_patterns(served, tools.report)
    settings: Tree = {}
    add_redis(settings, router, library)
    settings["gateway"] = {
        "default_model": _default(general, models, aliases, served),
        **_patience(found),
    }
    settings |= _retry(router, library)
    _finish(made, router, library, general)
    settings |= {"providers": made, "models": models}
    add_server(settings, general)
    _tell_rest(top, router, library, general)
    return Imported(
        settings=settings,
        unmatched=tools.report.unmatched,
        differing=tools.report.differing,
        variables=tools.variables.listed(),
        samples=tools.variables.samples,
    )


def _defaults(router: Part, library: Part, general: Part) -> Defaults:
    """Read what holds for each deployment, unless it says otherwise."""
    concurrency = _first(
        router.count("default_max_parallel_requests"), general.count("max_parallel_requests")
    )
    return Defaults(
        limits={} if concurrency is None else {"concurrency": concurrency},
        timeout_s=_first(router.amount("timeout"), library.amount("request_timeout")),
    )


def _nothing(report: Report) -> str:
    lines = "\n".join(f"  {remark}" for remark in report.unmatched)
    found = lines or "  it is missing or empty; models in LiteLLM's database are not in its file"
    return f"model_list: nothing in it can be taken over:\n{found}"


def _strategy(router: Part) -> str:
    theirs = router.text("routing_strategy")
    path, report = router.at("routing_strategy"), router.tools.report
    if theirs and theirs not in _STRATEGIES:
        report.lost(path, theirs, "Sluice has no such strategy", "weighted is taken")
    if theirs.startswith("usage-based"):
        report.differs(
            path, theirs, "Sluice keeps limits exactly before it chooses; least_busy is nearest"
        )
    return _STRATEGIES.get(theirs, "weighted")


def _models(served: Sequence[Served], strategy: str, report: Report) -> dict[str, Tree]:
    groups: dict[str, list[Served]] = {}
    for one in served:
        if not one.target.any_model:
            groups.setdefault(one.target.name, []).append(one)
    return {name: model(group, strategy, report) for name, group in groups.items()}


def _tell_patterns(served: Sequence[Served], report: Report) -> None:
    for one in served:
        target = one.target
        if target.any_model and target.name != f"{one.provider}/*":
            why = f"all of the provider's models are asked for as {one.provider}/NAME with us"
            report.differs(target.path, target.name, why)
        if target.any_model and (target.limits or target.details):
            why = "limits and prices of a pattern are not taken over"
            report.lost(target.path, None, why, f"set providers.{one.provider}.limits")


def _default(
    general: Part,
    models: Mapping[str, Tree],
    aliases: Mapping[str, str],
    served: Sequence[Served],
) -> str:
    """Choose what a request without a model goes to."""
    wanted = general.text("completion_model")
    wanted = aliases.get(wanted, wanted)
    if wanted in models:
        return wanted
    path, report = general.at("completion_model"), general.tools.report
    if wanted:
        report.lost(path, wanted, "no model that was taken over has this name")
    chosen = next(iter(models), f"{served[0].provider}/NAME")
    why = f"a request without a model goes to {chosen}; LiteLLM refuses it"
    report.differs(path, None, why, "see gateway.default_model")
    return chosen


def _patience(found: Sequence[Target]) -> Tree:
    """Let a request take as long as its longest call may, where that is more than usual."""
    totals = [one.timeout.get("total_s") for one in found]
    longest = max((value for value in totals if isinstance(value, int | float)), default=0)
    usual = GatewaySettings().request_timeout_s
    return {"request_timeout_s": longest} if longest > usual else {}


def _retry(router: Part, library: Part) -> Tree:
    made: Tree = {}
    path, given = _number(router, library, "num_retries")
    if given is not None:
        made["quick"] = min(int(given), _MAX_QUICK)
        if given > _MAX_QUICK:
            router.tools.report.differs(
                path,
                given,
                f"more than {_MAX_QUICK} quick retries make no sense",
                "what time mends climbs the ladder",
            )
    pause = router.number("retry_after")
    if pause:
        made |= {"backoff_s": pause, "max_backoff_s": max(4, pause)}
    return {"retry": made} if made else {}


def _finish(made: Tree, router: Part, library: Part, general: Part) -> None:
    """Give each provider what LiteLLM sets for all deployments."""
    shared: Tree = {}
    cooldown = _first(router.amount("cooldown_time"), library.amount("cooldown_time"))
    breaker = _breaker(router, library, cooldown)
    if cooldown is not None:
        shared["cooldown_s"] = cooldown
    if router.flag("disable_cooldowns"):
        breaker, shared["cooldown_s"] = {"failures": 0}, 0
    health = general.amount("health_check_interval")
    if general.flag("background_health_checks"):
        shared["health_s"] = 300 if health is None else health
    for provider in made.values():
        assert isinstance(provider, dict)
        for key, value in shared.items():
            provider.setdefault(key, value)
        if breaker:
            provider["breaker"] = dict(breaker)


def _number(router: Part, library: Part, key: str) -> tuple[str, int | float | None]:
    """Take a number and its path: the router's goes before the library's."""
    path = router.at(key) if key in router else library.at(key)
    both = [part.number(key) for part in (router, library)]
    return path, next((value for value in both if value is not None), None)


def _first(*values: Amount | None) -> Amount | None:
    return next((value for value in values if value is not None), None)


def _breaker(router: Part, library: Part, cooldown: Amount | None) -> Tree:
    """Let a deployment rest after as many failures, and for as long."""
    made: Tree = {}
    path, given = _number(router, library, "allowed_fails")
    if given is not None:
        made["failures"] = int(given) + 1
        why = "with us it is failures in a row, not in a minute"
        router.tools.report.differs(path, given, why)
    if cooldown:
        made["open_s"] = cooldown
        if isinstance(cooldown, int | float) and cooldown > 60:
            made["max_open_s"] = cooldown
    return made


def _tell_rest(top: Part, router: Part, library: Part, general: Part) -> None:
    variables = top.part("environment_variables")
    names = ", ".join(name for name, _ in variables.items())
    if names:
        why = f"a file sets no variables with us ({names})"
        top.tools.report.lost(variables.path, None, why, "set those that are needed")
    router.rest(ROUTER)
    library.rest(LIBRARY)
    general.rest(GENERAL)
    top.rest(TOP)
