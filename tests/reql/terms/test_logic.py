from __future__ import annotations

from typing import Any

import pytest
from rethinkdb import r

from tests.reql.evaluate import evaluate


@pytest.mark.parametrize("value", [False, None])
def test_not_is_true_of_false_and_null(value: Any) -> None:
    assert evaluate(~r.expr(value)) is True


@pytest.mark.parametrize("value", [True, 0, "", [], {}])
def test_not_is_false_of_everything_else(value: Any) -> None:
    assert evaluate(r.not_(value)) is False


def test_not_applies_to_each_group() -> None:
    grouped = r.expr([1, 2, 3]).group(lambda n: n > 2).count()
    assert evaluate((grouped == 2).not_()) == [[False, False], [True, True]]
