"""otel/dashboards/sluice.json: the flow in its order, known metrics, nothing that overlaps."""

from itertools import combinations

import msgspec
import pytest

from pipeline.flow import HOPS
from tests.otel.files import json_text
from tests.otel.promql import BUILT_IN, added_up, declared, family, legend_labels, metrics_of

DATASOURCE = "${datasource}"


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """Where a panel is, of 24 columns."""

    x: int
    y: int
    w: int
    h: int

    def overlaps(self, other: "Grid") -> bool:
        """Tell whether two panels have a field in common."""
        across = self.x < other.x + other.w and other.x < self.x + self.w
        return across and self.y < other.y + other.h and other.y < self.y + self.h


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A data source that is referred to."""

    uid: str
    type: str = ""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One question of a panel."""

    datasource: Named
    expr: str
    legend: str = msgspec.field(name="legendFormat")
    ref: str = msgspec.field(name="refId")


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """How figures are written."""

    unit: str = ""


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a panel."""

    defaults: Defaults


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """A panel, or the title of a row of them."""

    id: int
    type: str
    title: str
    grid: Grid = msgspec.field(name="gridPos")
    description: str = ""
    datasource: Named | None = None
    fields: Fields | None = msgspec.field(name="fieldConfig", default=None)
    targets: list[Target] = []
    collapsed: bool = False


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """What the reader chooses."""

    name: str
    type: str
    definition: str = ""
    datasource: Named | None = None


class Variables(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    list: list[Variable]


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """The whole."""

    uid: str
    title: str
    panels: list[Panel]
    templating: Variables


DASHBOARD = msgspec.json.decode(json_text("otel/dashboards/sluice.json"), type=Dashboard)
ROWS = [panel for panel in DASHBOARD.panels if panel.type == "row"]
PANELS = [panel for panel in DASHBOARD.panels if panel.type != "row"]


def by_title(panel: Panel) -> str:
    return f"{panel.id}-{panel.title}"


@pytest.mark.parametrize("panel", PANELS, ids=by_title)
def test_a_panel_asks_for_metrics_that_are_told(panel: Panel) -> None:
    asked = {name for target in panel.targets for name in metrics_of(target.expr)}

    assert asked
    assert asked - BUILT_IN <= declared()


@pytest.mark.parametrize("panel", PANELS, ids=by_title)
def test_a_panel_says_what_it_shows_in_which_unit_and_from_where(panel: Panel) -> None:
    assert panel.title
    assert panel.description
    assert panel.fields
    assert panel.fields.defaults.unit
    assert panel.datasource
    sources = [panel.datasource, *(target.datasource for target in panel.targets)]
    assert {source.uid for source in sources} == {DATASOURCE}


@pytest.mark.parametrize("panel", PANELS, ids=by_title)
def test_each_line_has_a_legend_of_labels_that_its_question_keeps(panel: Panel) -> None:
    legends = [target.legend for target in panel.targets if panel.type == "timeseries"]

    assert all(legends)
    assert len(set(legends)) == len(legends)
    for target in panel.targets:
        assert [label for label in legend_labels(target.legend) if label not in target.expr] == []


@pytest.mark.parametrize("panel", PANELS, ids=by_title)
def test_what_all_gateways_tell_alike_is_not_added_up(panel: Panel) -> None:
    assert [name for target in panel.targets for name in added_up(target.expr)] == []


def test_the_rows_are_in_the_order_of_the_flow() -> None:
    titles = [row.title for row in sorted(ROWS, key=lambda row: row.grid.y)]
    firsts = [title.split()[0].strip(":") for title in titles]
    hops = [hop.name for hop in HOPS]

    assert firsts == ["Now", "Ingress", "Requests", *hops, "Ladder", "Dead", "Groups", "Redis"]


def test_every_row_has_panels_below_it_and_no_panel_stands_before_the_first() -> None:
    places = sorted(DASHBOARD.panels, key=lambda panel: (panel.grid.y, panel.grid.x))
    kinds = [panel.type == "row" for panel in places]

    assert kinds[0]
    assert (True, True) not in zip(kinds, [*kinds[1:], True], strict=True)
    assert [panel.id for panel in places] == [panel.id for panel in DASHBOARD.panels]


def test_no_two_panels_overlap_and_each_has_an_id_of_its_own() -> None:
    grids = [panel.grid for panel in DASHBOARD.panels]

    assert [pair for pair in combinations(grids, 2) if pair[0].overlaps(pair[1])] == []
    assert [grid for grid in grids if grid.x < 0 or grid.x + grid.w > 24] == []
    assert len({panel.id for panel in DASHBOARD.panels}) == len(DASHBOARD.panels)


def test_its_variables_are_a_source_and_choices_that_panels_use() -> None:
    first, *choices = DASHBOARD.templating.list
    text = " ".join(target.expr for panel in PANELS for target in panel.targets)

    assert (first.name, first.type) == ("datasource", "datasource")
    assert {choice.name for choice in choices} >= {"model", "deployment"}
    for choice in choices:
        assert choice.datasource == Named(uid=DATASOURCE, type="prometheus")
        assert f'=~"${choice.name}"' in text


def test_the_choices_are_read_from_metrics_that_are_told() -> None:
    read = [
        variable.definition.removeprefix("label_values(").partition(",")[0]
        for variable in DASHBOARD.templating.list[1:]
    ]
    assert read
    assert {family(name) for name in read} <= declared()
