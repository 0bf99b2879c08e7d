"""How the options of a simulated call are written, read, layered and refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.simulated.faults import (
    FIELDS,
    FLAGS,
    BadOptionError,
    Behaviour,
    Value,
    describe,
    failure,
    layer,
    read_model,
    read_object,
    read_pairs,
)

milliseconds = st.floats(0, 86_400_000)
VALUES: dict[str, st.SearchStrategy[Value]] = {
    "ttft_ms": milliseconds,
    "tps": st.floats(0, 1_000_000),
    "tokens": st.integers(0, 1000),
    "jitter": st.floats(0, 1),
    "error": st.none() | st.integers(400, 599),
    "error_rate": st.none() | st.floats(0, 1),
    "retry_after_ms": st.none() | milliseconds,
    "cut_at": st.none() | st.integers(0, 100_000),
    "hang": st.booleans(),
    "delta_bytes": st.none() | st.integers(1, 1000),
    "rpm": st.none() | st.integers(1, 10**9),
    "bad_key": st.text("abcdefgh-_", min_size=1),
}
options = st.fixed_dictionaries({}, optional=VALUES)


def written(value: Value) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


@given(options)
def test_options_written_in_a_model_name_are_read_back_the_same(chosen: dict[str, Value]) -> None:
    name = "sim:" + ",".join(f"{option}={written(value)}" for option, value in chosen.items())
    assert layer(Behaviour(), read_model(name)) == msgspec.convert(chosen, Behaviour)


@given(options)
def test_options_in_a_body_mean_what_they_mean_in_a_name(chosen: dict[str, Value]) -> None:
    assert layer(Behaviour(), read_object(msgspec.json.encode(chosen))) == msgspec.convert(
        chosen, Behaviour
    )


@given(st.text())
def test_any_text_is_read_or_refused_as_a_bad_option(text: str) -> None:
    try:
        behaviour = layer(Behaviour(), read_model(f"sim:{text}"))
    except BadOptionError:
        return
    assert behaviour == Behaviour() or "=" in text or any(flag in text for flag in FLAGS)


@given(st.sampled_from(sorted(FIELDS)), st.text("0123456789.-einfa", max_size=8))
def test_a_value_is_in_its_range_or_refused(option: str, raw: str) -> None:
    try:
        behaviour = layer(Behaviour(), read_pairs(f"{option}={raw}"))
    except BadOptionError:
        return
    assert msgspec.convert(msgspec.to_builtins(behaviour), Behaviour) == behaviour


@pytest.mark.parametrize(
    "name", ["fast", "gpt-4o", "qwen3:8b", "openai/gpt-4o", "ft:gpt-4o:acme::id", "a:", ""]
)
def test_an_ordinary_model_name_holds_no_options(name: str) -> None:
    assert read_model(name) == {}


def test_a_bare_flag_is_switched_on() -> None:
    assert "hang" in FLAGS
    assert read_model("sim:hang") == {"hang": True}
    assert read_model("sim:ttft_ms=5, empty") == {"ttft_ms": 5.0, "empty": True}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ttft=5", ["'ttft'", "'5'", "ttft_ms", "concurrency"]),
        ("error=200", ["'error'", "'200'", "from 400 to 599", "null"]),
        ("error_rate=1.5", ["'error_rate'", "'1.5'", "a number from 0 to 1"]),
        ("tps=nan", ["'tps'", "'nan'", "a number from 0"]),
        ("hang=maybe", ["'hang'", "'maybe'", "true or false"]),
        ("bad_key=", ["'bad_key'", "''", "text of 1 to 200 characters"]),
        ("ttft_ms", ["'ttft_ms'", "name=value"]),
        ("tokens=1,tokens=2", ["'tokens'", "'2'", "twice"]),
        ("tokens=99999,delta_bytes=9999", ["'tokens'", "99999", "delta_bytes"]),
    ],
)
def test_a_refusal_names_the_option_its_value_and_what_is_allowed(
    text: str, said: list[str]
) -> None:
    with pytest.raises(BadOptionError) as refused:
        layer(Behaviour(), read_pairs(text))
    for words in said:
        assert words in str(refused.value)


@pytest.mark.parametrize("raw", [b"[]", b"3", b'{"ttft_ms": {}}'])
def test_a_body_must_give_an_object_of_plain_values(raw: bytes) -> None:
    with pytest.raises(BadOptionError, match="simulate"):
        read_object(raw)


def test_a_later_layer_wins() -> None:
    behaviour = layer(Behaviour(tps=1), {"tps": 2.0, "tokens": 5}, {"tps": 3.0})
    assert (behaviour.tps, behaviour.tokens) == (3.0, 5)


def test_every_option_is_described_on_a_line() -> None:
    assert [line.split()[0] for line in describe().splitlines()] == list(FIELDS)
    assert "None" not in describe()


def test_failures_follow_status_rate_and_first_calls() -> None:
    def never() -> float:
        return 1.0

    def always() -> float:
        return 0.0

    assert failure(Behaviour(), 1, always) is None
    assert failure(Behaviour(error=503), 7, never) == 503
    assert failure(Behaviour(error=429, error_rate=0.5), 1, always) == 429
    assert failure(Behaviour(error=429, error_rate=0.5), 1, never) is None
    assert failure(Behaviour(error_rate=0.0), 1, always) is None
    assert failure(Behaviour(error_first=2), 2, never) == 500
    assert failure(Behaviour(error_first=2, error=502), 2, never) == 502
    assert failure(Behaviour(error_first=2, error=502), 3, never) is None
