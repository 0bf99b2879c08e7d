"""JSON that fits a schema, and what else is answered where its form is asked for."""

import json
from collections.abc import Iterator
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import pydantic
import pytest

from tests.providers.simulated_process import SimulatedProcess
from workers.providers.simulated.example import example, written

TOOL = {"type": "function", "function": {"name": "f", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
}}}  # fmt: skip


class Colour(Enum):
    """A choice."""

    red = "red"
    blue = "blue"


class Node(pydantic.BaseModel):
    """Something that may hold itself."""

    name: Annotated[str, pydantic.Field(min_length=12, max_length=20)]
    next: "Node | None"
    others: list["Node"]


class Form(pydantic.BaseModel):
    """Fields of many kinds."""

    colour: Colour
    fixed: Literal["this"]
    whole: Annotated[int, pydantic.Field(ge=10, le=20)]
    below: Annotated[float, pydantic.Field(lt=-3)]
    above: Annotated[int, pydantic.Field(gt=7)]
    real: float
    flag: bool
    nothing: None
    either: int | str
    day: date
    moment: datetime
    ident: UUID
    several: Annotated[list[str], pydantic.Field(min_length=3)]
    node: Node
    left_out: str = "default"


def test_an_example_fits_its_schema() -> None:
    form = Form.model_validate_json(written(Form.model_json_schema()))
    assert form.colour is Colour.red
    assert form.whole == 10
    assert len(form.several) == 3
    assert form.left_out == "default"


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": "object", "required": ["a"]}])
def test_an_object_of_any_kind_holds_a_text(schema: dict[str, object]) -> None:
    assert set(json.loads(written(schema))) == {"text"} or schema == {}
    assert json.loads(written(None)) == {"text": "simulated"}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/nobody"},
        {"anyOf": []},
        {"type": []},
        {"type": "array"},
        {"type": "object", "properties": {"a": True}, "required": ["a", "b"]},
        {"type": "string", "maxLength": 2},
    ],
    ids=str,
)
def test_odd_schemas_have_an_example_too(schema: dict[str, object]) -> None:
    json.dumps(example(schema))


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedProcess]:
    with SimulatedProcess() as process:
        yield process


def chunks_of(frames: list[str]) -> list[dict[str, list[dict[str, dict[str, object]]]]]:
    return [json.loads(frame) for frame in frames if frame != "[DONE]"]


def test_a_function_that_must_be_called_is_called(simulated: SimulatedProcess) -> None:
    [choice] = simulated.ask(tools=[TOOL], tool_choice="required").json()["choices"]
    [call] = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert json.loads(call["function"]["arguments"]) == {"city": "simulated"}
    cut = simulated.ask(tools=[TOOL], tool_choice="required", max_tokens=2).json()
    [chosen] = cut["choices"]
    assert chosen["finish_reason"] == "length"
    [auto] = simulated.ask(tools=[TOOL], tool_choice="auto").json()["choices"]
    assert auto["finish_reason"] == "stop"


def test_a_tool_that_is_not_there_cannot_be_chosen(simulated: SimulatedProcess) -> None:
    choice = {"type": "function", "function": {"name": "g"}}
    for stream in (False, True):
        refused = simulated.ask(tools=[TOOL], tool_choice=choice, stream=stream)
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "tool_choice"


def test_choices_take_turns_in_a_stream(simulated: SimulatedProcess) -> None:
    options = {"include_usage": True}
    frames = simulated.frames("sim:tokens=3", n=2, stream_options=options)
    *chunks, last = chunks_of(frames)
    said = {0: "", 1: ""}
    for chunk in chunks:
        [choice] = chunk["choices"]
        said[int(str(choice["index"]))] += str(choice["delta"].get("content", ""))
    whole = simulated.ask("sim:tokens=3", n=2).json()
    assert list(said.values()) == [one["message"]["content"] for one in whole["choices"]]
    assert last["usage"] == whole["usage"]
    assert whole["usage"]["completion_tokens"] == 6


def test_an_answer_can_be_withheld(simulated: SimulatedProcess) -> None:
    [choice] = simulated.ask("sim:withheld").json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "content_filter")
    *_, last = chunks_of(simulated.frames("sim:withheld"))
    assert str(last["choices"][0]["finish_reason"]) == "content_filter"
