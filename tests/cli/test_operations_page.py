"""docs/operations.md tells the truth about the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from photondb.config import DEFAULT_ADDRESSES, OPTIONS, Option, Settings, default_of

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def rows() -> dict[str, list[str]]:
    """The cells of the table of settings, by variable."""
    tables = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("`") for cell in line] for line in tables]
    return {line[1]: line for line in cells if line[1].startswith(("PHOTONDB_", "OTEL_"))}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.variable)
def test_a_setting_is_described_as_it_is(option: Option) -> None:
    flag, _, default, meaning = rows()[option.variable]
    assert flag == (option.flag or "")
    service = option.field.removesuffix("_address")
    boolean = "0" if getattr(Settings(), option.field) is False else ""
    expected = DEFAULT_ADDRESSES.get(service, default_of(option) or boolean)
    assert default == expected
    assert meaning


def test_no_setting_is_described_that_does_not_exist() -> None:
    assert set(rows()) == {option.variable for option in OPTIONS}
