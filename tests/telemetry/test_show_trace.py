"""`sluice show --trace` draws in the terminal what the collector gets."""

import json

import pytest

from tests.cli.command import sluice
from tests.house_of_sluice import House
from tests.telemetry.asking import OUTSIDE, ask, whole
from tests.telemetry.collector import Collector

pytestmark = pytest.mark.journey


def test_the_terminal_draws_the_same_tree(house: House, collector: Collector) -> None:
    request_id = house.later("limited")
    spans = whole(collector, request_id, "request", "process respond", "POST /chat/async")
    environment = {**house.environment(), "COLUMNS": "200"}
    told = sluice(house.directory, "show", request_id, "--trace", "--json", env=environment)
    [leg] = json.loads(told.stdout)["trace"]
    theirs = [(span.name, span.error) for span in spans if span.kind != "SERVER"]
    assert [(span["name"], span.get("error", "")) for span in leg["spans"]] == theirs
    drawn = sluice(house.directory, "show", request_id, "--trace", env=environment).stdout
    assert spans[0].trace in drawn
    assert f"http://127.0.0.1:16686/trace/{spans[0].trace}" in drawn
    assert "gate wait" in drawn
    assert "error=429  attempt=1" in drawn


def test_the_terminal_draws_what_was_not_sampled_as_well(house: House) -> None:
    _, request_id, _ = ask(house, traceparent=OUTSIDE[:-1] + "0")
    drawn = sluice(house.directory, "show", request_id, "--trace", env=house.environment()).stdout
    names = [
        "request",
        "process route",
        "process gate",
        "process call",
        "chat fast",
        "process respond",
    ]
    places = [drawn.find(name) for name in names]
    assert -1 not in places
    assert places == sorted(places)
