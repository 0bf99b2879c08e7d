"""The image: what goes into it, as whom it runs, and that nothing is left out of the wheel."""

import re
import tomllib

from tests.house.sources import PRODUCT, ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
#: Instructions, with their continuation lines.
STEPS = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).split("\n")


def told(instruction: str) -> list[str]:
    """Give the arguments of each such instruction."""
    return [step.partition(" ")[2] for step in STEPS if step.startswith(f"{instruction} ")]


def last_stage() -> list[str]:
    start = max(number for number, step in enumerate(STEPS) if step.startswith("FROM "))
    return STEPS[start:]


def test_it_runs_as_a_number_that_is_not_root_and_ends_in_order() -> None:
    assert told("USER") == ["10001:10001"]
    assert told("STOPSIGNAL") == ["SIGTERM"]
    assert told("ENTRYPOINT") == ['["sluice"]']
    assert any("PYTHONUNBUFFERED=1" in setting for setting in told("ENV"))


def test_both_stages_have_the_same_python_and_the_last_builds_nothing() -> None:
    stages = [stage.removesuffix(" AS build") for stage in told("FROM")]

    assert stages == ["python:${PYTHON}"] * 2
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-\w+", told("ARG")[0])
    assert not [step for step in last_stage() if re.search(r"\bpip\b|\bapt", step)]
    assert [step for step in last_stage() if step.startswith("COPY ")] == [
        "COPY --from=build /opt/sluice /opt/sluice"
    ]


def test_all_packages_of_the_product_are_copied_and_nothing_else_gets_in() -> None:
    copied = [one.split()[:-1] for one in told("COPY") if not one.startswith("--from")]
    names = {name for sources in copied for name in sources}
    lines = (ROOT / ".dockerignore").read_text().splitlines()

    assert names == {*PRODUCT, "pyproject.toml", "README.md", "LICENSE"}
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == names


def test_all_that_the_packages_hold_beside_code_is_in_the_wheel() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns: list[str] = setuptools["package-data"]["*"]
    files = [
        path
        for folder in PRODUCT
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    left_out = [
        path
        for path in files
        if not any(path.match(pattern) for pattern in patterns)
        or not (path.parent / "__init__.py").exists()
    ]

    assert any(path.suffix == ".lua" for path in files)
    assert left_out == []
