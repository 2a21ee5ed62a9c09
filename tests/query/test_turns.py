"""Queries that work on long strings let others go on in between, as loops do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rethinkdb import r
from rethinkdb.ast import RqlTopLevelQuery

from photondb.reql import runtime
from photondb.reql.values import LONG_STRING_CHARACTERS
from photondb.reql.wire import Term
from tests.query.conftest import Client


class Format(RqlTopLevelQuery):  # type: ignore[misc]
    """The one term that the driver lacks."""

    term_type = Term.FORMAT
    statement = "format"


ROWS = 100
"""So few that without long strings there is one look at the clock for all of them."""

TERMS: dict[str, Any] = {
    "add": lambda text: text + text,
    "upcase": lambda text: text.upcase(),
    "downcase": lambda text: text.downcase(),
    "match": lambda text: text.match("^y"),
    "split": lambda text: text.split("y"),
    "format": lambda text: Format("{a}", {"a": text}),
    "to_json_string": lambda text: text.to_json_string(),
    "json": lambda text: r.json(text.to_json_string()),
    "coerce_to": lambda text: r.expr([text]).coerce_to("string"),
}


async def turns_of_others(client: Client, query: Any) -> int:
    """How often something else went on while a query was evaluated, which was compiled before."""
    await client.run(query)
    turns = 0

    async def go_on() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(go_on())
    response = await client.run(query)
    others.cancel()
    assert response["t"] == 1, response
    assert response["r"] == [ROWS]
    return turns


@pytest.mark.parametrize("name", TERMS)
async def test_each_term_that_goes_through_a_long_string(
    client: Client, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(runtime, "SLICE_SECONDS", 0)  # as if all took long

    def query(text: str) -> Any:
        return r.expr(text).do(
            lambda text: r.expr([text] * ROWS).filter(lambda row: TERMS[name](row).ne("another")).count()
        )

    short = await turns_of_others(client, query("x"))
    long = await turns_of_others(client, query("x" * (LONG_STRING_CHARACTERS + 1)))
    assert long >= short + ROWS / 2


async def test_a_fold_looks_at_the_clock_for_each_row(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state may grow, so that a step takes longer than a row."""
    monkeypatch.setattr(runtime, "SLICE_SECONDS", 0)
    rows = r.range(ROWS)
    together = await turns_of_others(client, rows.map(lambda row: row + 1).count())
    assert await turns_of_others(client, rows.fold(0, lambda state, row: state + 1)) >= together + ROWS / 2
