"""The places of the matrix, and the configuration that has a provider and a model for each."""

from typing import Final, NamedTuple, cast

from tests.house_of_sluice import Section
from tests.matrix.broken import FINE, Broken
from tests.matrix.table import ROWS, WAYS, Cell, Row, Way

#: The model that others fall back on.
SPARE: Final = "spare"
#: How long a client is held.
CLIENTS_S: Final = 20.0


class Place(NamedTuple):
    """Where in the matrix: a row by its number, a way, a form."""

    number: int
    way: Way
    stream: bool

    @property
    def row(self) -> Row:
        """Give the row."""
        return ROWS[self.number]

    @property
    def expected(self) -> Cell:
        """Give the cell that the table has here."""
        return self.row.cells(stream=self.stream)[WAYS.index(self.way)]

    @property
    def name(self) -> str:
        """Give the name of the provider and of the model that nobody else uses."""
        form = "stream" if self.stream else "whole"
        return f"r{self.number}-{self.way.replace(' ', '-')}-{form}"

    def __str__(self) -> str:
        return f"{self.row.fault}, {self.way}, {'stream' if self.stream else 'whole'}"


PLACES: Final = [
    Place(number, way, stream)
    for number in range(len(ROWS))
    for way in WAYS
    for stream in (False, True)
]


def sections(provider: Broken) -> dict[str, Section]:
    """Configure a provider and a model for each cell, and one more for each patient request."""
    providers: dict[str, object] = {SPARE: {"base_url": provider.url(FINE)}}
    models: dict[str, object] = {SPARE: _served_by(SPARE, FINE)}
    names = [(place.name, place.way, place.row) for place in PLACES]
    patient: list[tuple[str, Way, Row]] = [
        (patient_model(number), "one key", row) for number, row in enumerate(ROWS)
    ]
    for name, way, row in (*names, *patient):
        providers[name] = _provider(name, way, row, provider)
        models[name] = _served_by(name, row.script or f"{name}:{row.options}")
        if way == "fallback":
            models[name] = {**cast("Section", models[name]), row.fallbacks: [SPARE]}
    return {
        "providers": providers,
        "models": models,
        "gateway": {"request_timeout_s": CLIENTS_S},
        "retry": {"backoff_s": 0.02, "max_backoff_s": 0.05},
    }


def patient_model(number: int) -> str:
    """Name the model that is asked for by who has patience, by the number of its row."""
    return f"r{number}-patient"


def _served_by(provider: str, model: str) -> Section:
    return {"deployments": [{"provider": provider, "model": model}]}


def _provider(name: str, way: Way, row: Row, provider: Broken) -> Section:
    keys = [f"sk-{name}-{letter}" for letter in ("ab" if way == "many keys" else "a")]
    here = {"base_url": provider.url(row.script)} if row.script else {}
    return {
        "keys": keys,
        "limits_per": row.limits_per,
        "breaker": {"failures": 0},
        "timeout": row.timeouts,
        **here,
    }
