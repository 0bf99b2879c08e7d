"""The form of polite answers: OpenAI's, with one field of ours."""

import msgspec
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from pipeline import polite
from pipeline.errors import Failure
from tests.streams.rig import make_event

FAILURE = Failure(message="No", code="provider_exhausted", status=503, metadata={"tried": ["p/a"]})


def test_a_whole_answer_is_openais_object_and_says_what_it_stands_for() -> None:
    body = polite.whole(make_event(model="fast"), "Sorry.", FAILURE)
    whole = ChatCompletion.model_validate_json(body, strict=True)
    assert (whole.id, whole.model, whole.created) == ("chatcmpl-r1", "fast", 1)
    assert whole.choices[0].message.content == "Sorry."
    error = msgspec.json.decode(body)["sluice"]["error"]
    assert error == {
        "message": "No", "type": "server_error", "param": None, "code": "provider_exhausted",
        "status": 503, "metadata": {"tried": ["p/a"]},
    }  # fmt: skip


def test_a_stream_is_one_chunk_its_end_and_the_usage_where_that_was_asked_for() -> None:
    for asked in (False, True):
        event = make_event(model="fast", stream=True, include_usage=asked)
        chunks = [
            ChatCompletionChunk.model_validate_json(chunk, strict=True)
            for chunk in polite.chunks(event, "Sorry.\nTry again.", FAILURE)
        ]
        said, ended, *usage = chunks
        assert said.choices[0].delta.content == "Sorry.\nTry again."
        assert (said.choices[0].delta.role, said.choices[0].finish_reason) == ("assistant", None)
        assert ended.choices[0].finish_reason == "stop"
        assert [chunk.choices for chunk in usage] == [[]] * asked
