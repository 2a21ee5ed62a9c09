"""docs/reql.md is what the registry of terms says, and nothing is missing from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from photondb.reql.reference import SYNTAX, reference
from photondb.reql.registry import SPECIAL_FORMS, TERMS
from photondb.reql.wire import Term

PAGE = Path(__file__).parents[2] / "docs" / "reql.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "run `make docs`"


def rows() -> dict[int, list[str]]:
    """The cells of the tables, by the number of the term."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and line[2].isdigit()]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {int(line[0]): line for line in cells}


def test_every_term_of_the_protocol_is_there() -> None:
    assert set(TERMS) | set(SPECIAL_FORMS) | set(SYNTAX) == set(Term)
    assert rows().keys() == {int(number) for number in Term}


@pytest.mark.parametrize("number", Term, ids=lambda number: number.name)
def test_every_term_is_described(number: Term) -> None:
    cells = rows()[number]
    assert len(cells) == 8
    assert cells[1] == f"`{number.name.lower()}`"
    assert len(cells[4]) > 5, "it says what the term does"


def test_what_signatures_say_is_shown() -> None:
    shown = rows()
    assert shown[Term.SLICE][2] == "`value: any, left: integer, [right: integer]`"
    assert shown[Term.SLICE][3] == "`left_bound: string, right_bound: string`"
    assert shown[Term.TABLE][2] == "`[database: database], name: table name`"
    assert shown[Term.PLUCK][5:7] == ["mapped", "each group"]
    assert shown[Term.GROUP][6] == "divides"
    assert shown[Term.INSERT][7] == "writes"
    assert shown[Term.RANGE][7] == "endless"
    assert shown[Term.RANDOM][7] == "varies"
    assert shown[Term.ORDER_BY][3] == "`index: string, within asc or desc or not`"
