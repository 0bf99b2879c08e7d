"""Who may use the routes below `/admin`."""

from collections.abc import Mapping
from typing import Final

import pytest

from tests.gateway.conftest import CONFIG as OPEN
from tests.gateway.conftest import Answer, House, StartHouse
from tests.gateway.test_callers import CONFIG as TENANTS
from tests.gateway.test_callers import bearer, hashed

_ROUTES: Final = (
    ("GET", "/admin/dead"),
    ("POST", "/admin/dead/replay"),
    ("POST", "/admin/dead/purge"),
    ("GET", "/admin/dead/r1"),
    ("PATCH", "/admin/dead/r1"),
    ("DELETE", "/admin/dead/r1"),
    ("POST", "/admin/dead/r1/replay"),
    ("GET", "/admin/ladder"),
    ("POST", "/admin/ladder/promote"),
)
_TOKEN: Final = "sk-sluice-of-an-operator"
_ADMIN: Final = f'admin: {{tokens: ["{hashed("another")}", "{hashed(_TOKEN)}"]}}\n'


def all_of(house: House, headers: Mapping[str, str] | None = None) -> list[Answer]:
    return [house.ask(method, path, None, headers) for method, path in _ROUTES]


def codes(answers: list[Answer]) -> set[tuple[int, object]]:
    return {(answer.status, answer.error["code"]) for answer in answers}


def test_without_tenants_and_tokens_this_machine_is_its_operator(start_house: StartHouse) -> None:
    house = start_house(standin=False)
    answers = all_of(house)
    assert {answer.status for answer in answers} == {200, 400, 404}
    assert house.ask("GET", "/admin/dead").json == {
        "object": "list",
        "data": [],
        "after": None,
        "total": 0,
    }
    assert house.ask("GET", "/admin/ladder", None, {"Origin": house.url}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "192.0.2.1"},
        {"Forwarded": "for=192.0.2.1"},
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Host": "example.org"},
    ],
)
def test_whom_a_proxy_or_a_page_of_another_site_brings_is_none(
    start_house: StartHouse, headers: dict[str, str]
) -> None:
    house = start_house(standin=False)
    answers = all_of(house, headers)
    assert codes(answers) == {(403, "permission_denied")}
    assert "sluice token --admin" in str(answers[0].error["message"])


def test_with_tenants_nobody_is_let_in_before_a_token_is_set(start_house: StartHouse) -> None:
    house = start_house(TENANTS, standin=False)
    for headers in ({}, bearer("acme")):
        answers = all_of(house, headers)
        assert codes(answers) == {(403, "permission_denied")}
        assert "admin.tokens" in str(answers[0].error["message"])


@pytest.mark.parametrize("config", [OPEN, TENANTS])
def test_who_shows_an_operators_token_is_let_in_and_nobody_else(
    start_house: StartHouse, config: str
) -> None:
    house = start_house(config + _ADMIN, standin=False)
    for headers in ({}, bearer("acme"), {"Authorization": f"Basic {_TOKEN}"}):
        assert codes(all_of(house, headers)) == {(401, "invalid_api_key")}
    answers = all_of(house, {"Authorization": f"Bearer {_TOKEN}"})
    assert {answer.status for answer in answers} == {200, 400, 404}
    assert not any(_TOKEN.encode() in answer.body for answer in answers)


def test_an_operators_token_is_no_tenants(start_house: StartHouse) -> None:
    house = start_house(TENANTS + _ADMIN, standin=False)
    refused = house.ask("GET", "/v1/models", None, {"Authorization": f"Bearer {_TOKEN}"})
    assert refused.status == 401
