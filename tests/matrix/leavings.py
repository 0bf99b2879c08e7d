"""What a fault leaves behind in the limits, in words."""

from pipeline.limits.report import DeploymentReport, KeyReport


def left_by(deployment: DeploymentReport, keys: list[KeyReport], ago_s: float) -> str:
    """Say what a provider's part in a fault has left behind, `ago_s` after its end."""
    found = []
    if deployment.failures:
        found.append(f"{deployment.failures} failure{'s'[: deployment.failures > 1]}")
    if dead := sum(key.state == "dead" for key in keys):
        found.append(f"{dead} key{'s'[: dead > 1]} dead")
    resting = [key.rests_s for key in keys if key.state == "resting"]
    if resting:
        words = "keys rest" if len(resting) > 1 else "key rests"
        found.append(f"{len(resting)} {words} {_hint(max(resting) + ago_s)} s")
    if deployment.use.rests_s:
        found.append(f"deployment rests {_hint(deployment.use.rests_s + ago_s)} s")
    return ", ".join(found)


def _hint(rest_s: float) -> int:
    """Round to tens: all hints are those, and looking takes its time."""
    return round(rest_s, -1).__trunc__()
