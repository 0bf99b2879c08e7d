"""A trace in a real backend: Phoenix, where `SLUICE_TEST_PHOENIX` names its command.

It is no package of ours (500 MB): `python -m venv /tmp/phoenix && /tmp/phoenix/bin/pip install
arize-phoenix`, then `SLUICE_TEST_PHOENIX=/tmp/phoenix/bin/phoenix make test ARGS=tests/telemetry`.
"""

import functools
import http.client
import json
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from pipeline.embedded.redis_server import free_port
from tests.processes import Spawn
from tests.telemetry.asking import ask
from tests.telemetry.conftest import BuildTraced
from tests.waiting import eventually

COMMAND: Final = os.environ.get("SLUICE_TEST_PHOENIX", "")

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(not COMMAND, reason="opt-in: SLUICE_TEST_PHOENIX names no phoenix"),
]

_START_S: Final = 120.0


class Phoenix(NamedTuple):
    """Where one listens."""

    port: int
    otlp_url: str

    def get(self, path: str) -> Any:
        """Ask its API; None while it does not answer."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            link.request("GET", path)
            answer = link.getresponse()
            return json.loads(answer.read()) if answer.status == 200 else None
        except OSError:
            return None
        finally:
            link.close()

    def spans(self) -> list[dict[str, Any]]:
        """List the spans that it shows."""
        found = self.get("/v1/projects/default/spans?limit=100")
        return list(found["data"]) if found else []


@pytest.fixture
def phoenix(spawn: Spawn, tmp_path: Path) -> Phoenix:
    """Run one with its data in the test's folder."""
    port, grpc = free_port(), free_port()
    variables = {
        "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(port), "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_WORKING_DIR": str(tmp_path), "PHOENIX_TELEMETRY_ENABLED": "false",
    }  # fmt: skip
    spawn([COMMAND, "serve"], variables, "phoenix")
    phoenix = Phoenix(port, f"http://127.0.0.1:{grpc}")
    eventually(functools.partial(phoenix.get, "/v1/projects"), _START_S, "phoenix")
    return phoenix


def test_a_real_backend_shows_the_whole_trace(build_traced: BuildTraced, phoenix: Phoenix) -> None:
    house = build_traced(phoenix.otlp_url).start()
    status, _, headers = ask(house)
    assert status == 200
    eventually(lambda: len(phoenix.spans()) == 7, 30.0, "the spans")
    told = phoenix.spans()
    by_name = {span["name"]: span for span in told}
    assert by_name.keys() == {
        "POST /v1/chat/completions", "process route", "process gate", "process call",
        "chat fast", "process respond", "deliver",
    }  # fmt: skip
    assert {span["context"]["trace_id"] for span in told} == {headers["x-trace-id"]}
    root = by_name["POST /v1/chat/completions"]
    assert root["parent_id"] is None
    call, model_call = by_name["process call"], by_name["chat fast"]
    assert model_call["parent_id"] == call["context"]["span_id"]
    assert call["parent_id"] == root["context"]["span_id"]
    attributes = json.dumps(model_call["attributes"])
    assert "gen_ai" in attributes or "llm" in attributes
