"""What the README shows is what the code does."""

import re
from pathlib import Path

from pipeline import flow
from tests.matrix import told

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_picture_of_the_flow_is_the_flows_own_drawing() -> None:
    picture = re.search(r"<!-- flow:.*?-->\n```\n(.*?)```", README, re.DOTALL)

    assert picture is not None
    assert picture[1] == flow.drawing()


def test_the_table_of_faults_is_the_one_that_the_fault_matrix_proves() -> None:
    table = re.search(r"<!-- faults:.*?-->\n(.*?\n)\n", README, re.DOTALL)

    assert table is not None
    assert table[1] == told.markdown()


def test_every_hop_has_a_file_of_its_name() -> None:
    workers = Path(__file__).parents[2] / "workers"

    assert [hop.name for hop in flow.HOPS if not (workers / f"{hop.name}.py").is_file()] == []
