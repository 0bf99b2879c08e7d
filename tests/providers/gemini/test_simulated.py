"""The simulated provider in Gemini's form: what it lists, and that it checks as the API does."""

from collections.abc import Iterator

import httpx
import pytest

from tests.providers.gemini.ground import Json
from tests.providers.simulated_process import SimulatedProcess

PATH = "/v1beta/models/{}:generateContent"
USER: Json = {"role": "user", "parts": [{"text": "hi"}]}
CALL: Json = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
RESULT: Json = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}
DECLARED: Json = {"functionDeclarations": [{"name": "f"}]}


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    with SimulatedProcess() as process:
        yield process


def ask(
    simulated: SimulatedProcess, body: Json, model: str = "sim", method: str = "generateContent"
) -> httpx.Response:
    path = f"/v1beta/models/{model}:{method}"
    return simulated.http.post(path, json=body, headers={"x-goog-api-key": "k"})


def test_an_answer_has_the_fields_of_the_api(simulated: SimulatedProcess) -> None:
    answer = ask(simulated, {"contents": [USER]}).json()
    assert answer.keys() == {"candidates", "usageMetadata", "modelVersion", "responseId"}
    [candidate] = answer["candidates"]
    assert candidate["finishReason"] == "STOP"
    assert candidate["content"]["role"] == "model"


def test_a_stream_has_an_answer_in_each_frame(simulated: SimulatedProcess) -> None:
    path = "/v1beta/models/sim:tokens=3:streamGenerateContent"
    headers = {"x-goog-api-key": "k"}
    body = {"contents": [USER]}
    assert simulated.http.post(path, json=body, headers=headers).status_code == 400
    answer = simulated.http.post(f"{path}?alt=sse", json=body, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count("data: ") == 4
    assert answer.text.endswith("\r\n\r\n")


def test_the_models_are_listed(simulated: SimulatedProcess) -> None:
    listed = simulated.http.get("/v1beta/models").json()["models"]
    assert "models/fast" in [one["name"] for one in listed]
    assert simulated.http.get("/v1beta/models/fast").json()["name"] == "models/fast"


def test_nobody_without_a_key_is_let_in(simulated: SimulatedProcess) -> None:
    answer = simulated.http.post(PATH.format("sim"), json={"contents": [USER]})
    assert answer.status_code == 403
    assert answer.json()["error"]["status"] == "PERMISSION_DENIED"


def test_an_unknown_key_is_a_bad_request_with_a_reason(simulated: SimulatedProcess) -> None:
    answer = ask(simulated, {"contents": [USER]}, "sim:bad_key=k")
    assert answer.status_code == 400
    [detail] = answer.json()["error"]["details"]
    assert detail["reason"] == "API_KEY_INVALID"


def test_an_unknown_method_is_not_there(simulated: SimulatedProcess) -> None:
    assert ask(simulated, {"contents": [USER]}, method="paintContent").status_code == 404


def config(**fields: object) -> Json:
    return {"contents": [USER], "generationConfig": fields}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"contents": []},
        {"contents": [{"role": "user", "parts": []}]},
        {"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]},
        {"contents": [{"role": "user", "parts": [{}]}]},
        {"contents": [{"role": "user", "parts": [{"text": "a", "fileData": {"fileUri": "b"}}]}]},
        {"contents": [{"role": "user", "parts": [
            {"inlineData": {"mimeType": "image/png", "data": "?"}}]}]},
        {"contents": [USER, CALL, USER]},
        {"contents": [USER, RESULT]},
        {"contents": [USER, {**CALL, "role": "user"}, RESULT]},
        {"contents": [USER], "logitBias": {}},
        {"contents": [USER], "system_instruction": "be kind"},
        {"contents": [USER], "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
        {"contents": [USER], "tools": [DECLARED], "toolConfig": {
            "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["g"]}}},
        {"contents": [USER], "tools": [DECLARED], "toolConfig": {
            "functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]}}},
        {"contents": [USER], "tools": [{"functionDeclarations": [
            {"name": "f", "parameters": {"a": 1}, "parametersJsonSchema": {"a": 1}}]}]},
        config(temperature=3),
        config(stopSequences=["a"] * 6),
        config(logprobs=2),
        config(responseJsonSchema={"type": "object"}),
        config(thinkingConfig={"thinkingBudget": 1, "thinkingLevel": "low"}),
    ],
)  # fmt: skip
def test_a_body_that_the_api_would_refuse_is_refused(
    simulated: SimulatedProcess, body: Json
) -> None:
    answer = ask(simulated, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_gemini_3_wants_its_signatures_back(simulated: SimulatedProcess) -> None:
    body = {"contents": [USER, CALL, RESULT]}
    assert ask(simulated, body, "gemini-2.5-pro").status_code == 200
    answer = ask(simulated, body, "gemini-3-pro")
    assert answer.status_code == 400
    assert "thought_signature" in answer.json()["error"]["message"]


def test_a_batch_names_its_model_in_each_request(simulated: SimulatedProcess) -> None:
    content = {"parts": [{"text": "a"}]}
    one = {"model": "models/other", "content": content}
    assert ask(simulated, {"requests": [one]}, method="batchEmbedContents").status_code == 400
    short = {"model": "models/sim", "content": content, "outputDimensionality": 3}
    answer = ask(simulated, {"requests": [short, short]}, method="batchEmbedContents").json()
    assert [len(vector["values"]) for vector in answer["embeddings"]] == [3, 3]
