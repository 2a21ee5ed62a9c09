from __future__ import annotations

from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.errors import CompileError
from photondb.reql.nesting import check_nesting
from photondb.reql.shape import Shaper
from tests.reql.evaluate import wire_term

table = r.db("test").table("table")


@pytest.mark.parametrize(
    "query",
    [
        table.insert({"a": 1}),
        table.filter({"a": 1}).update({"b": 2}),
        r.expr([1, 2]).for_each(lambda x: table.insert({"id": x})),
        r.expr([table.get(1).delete(), {"made": r.db_create("a")}]),
        r.expr(1).do(lambda x: table.insert({"id": x})),
        table.insert({"a": 1})["changes"].map(lambda change: change["new_val"]),
    ],
)
def test_writes_may_stand_where_they_are_done_once(query: Any) -> None:
    check_nesting(Shaper(now=None).shape(wire_term(query)))


@pytest.mark.parametrize(
    ("query", "frames"),
    [
        (r.expr([1]).map(lambda x: table.insert({"id": x})), (1, 1)),
        (r.expr([1]).filter(lambda x: {"a": table.insert({"id": x})}), (1, 1, "a")),
        (table.update({"a": table.delete()}), (1, "a")),
        (r.expr([1]).map(lambda x: table.insert({"id": x})["inserted"]), (1, 1, 0)),
        (r.expr([1]).map(r.db("test").table_create("a")), (1,)),
    ],
)
def test_writes_may_not_stand_where_they_are_done_for_each_row(query: Any, frames: tuple[int | str, ...]) -> None:
    with pytest.raises(CompileError) as caught:
        check_nesting(Shaper(now=None).shape(wire_term(query)))
    assert caught.value.frames == frames
    assert caught.value.message.startswith("Cannot nest writes or meta ops in stream operations.")
