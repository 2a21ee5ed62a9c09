from __future__ import annotations

from typing import Any

import pytest
from rethinkdb import r

from tests.reql.evaluate import evaluate


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (None, {"type": "NULL"}),
        (r.minval, {"type": "MINVAL"}),
        (1, {"type": "NUMBER", "value": "1"}),
        ("a", {"type": "STRING", "value": '"a"'}),
        ({"a": 1}, {"type": "OBJECT", "value": '{\n\t"a":\t1\n}'}),
        (
            r.binary(b"abc"),
            {"type": "PTYPE<BINARY>", "count": 3, "value": '{\n\t"$reql_type$":\t"BINARY",\n\t"data":\t"YWJj"\n}'},
        ),
        (r.range(3), {"type": "STREAM"}),
        (r.expr([1]).group(lambda n: n).count(), {"type": "GROUPED_DATA"}),
        (r.db("test"), {"type": "DB", "name": "test", "id": "00000000-0000-4000-8000-000000000001"}),
    ],
)
def test_values_are_described(value: Any, described: dict[str, Any]) -> None:
    assert evaluate(r.info(value)) == described


def test_functions_show_their_source() -> None:
    described = evaluate(r.info(lambda x: x + 1))
    assert described["type"] == "FUNCTION"
    assert "add(" in described["source_code"]
