"""Filters for one value of a field, and that feeds with them are told of the same changes as if all were tried."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.steps import FilterStep, MapStep
from services.changefeed.equality import required_equality
from tests.changefeed.conftest import Suite, ready
from tests.storage.language import func

FILTERS: list[tuple[Callable[[Any], Any], Any]] = [
    (lambda row: row["a"] == 1, ("a", 1)),
    (lambda row: r.expr("x") == row["a"], ("a", "x")),
    (lambda row: row["a"] == None, ("a", None)),  # noqa: E711
    (lambda row: row["a"] == True, ("a", (True,))),  # noqa: E712
    (lambda row: (row["b"] > 1) & (row["a"] == 2), ("a", 2)),
    (lambda row: {"a": 1, "b": 2}, ("a", 1)),
    (lambda row: {"a": {"b": 1}, "b": 2}, ("b", 2)),
    (lambda row: row["a"] != 1, None),
    (lambda row: row["a"]["b"] == 1, None),
    (lambda row: row["a"] == row["b"], None),
    (lambda row: row["a"].eq(1, 1), None),
    (lambda row: (row["a"] == 1) | (row["b"] == 1), None),
    (lambda row: row["a"] == [1], None),
    (lambda row: row[row["b"]] == 1, None),
]


@pytest.mark.parametrize(("condition", "expected"), FILTERS)
def test_what_a_filter_requires(condition: Callable[[Any], Any], expected: Any) -> None:
    assert required_equality([FilterStep(func(condition))]) == expected


def test_what_steps_require() -> None:
    equal, other = FilterStep(func(lambda row: row["a"] == 1)), FilterStep(func(lambda row: row["a"] > 0))
    assert required_equality([other, equal]) == ("a", 1)
    assert required_equality([MapStep(func(lambda row: row), False), equal]) is None
    assert required_equality([FilterStep(equal.func, default=True)]) is None
    assert required_equality([]) is None


async def test_feeds_that_are_looked_up_are_told_what_the_others_are(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditions = [condition for condition, _ in FILTERS]
    looked_up = [await suite.open(steps=[FilterStep(func(condition))]) for condition in conditions]
    (follower,) = suite.changefeed._followers.values()
    assert follower.router._routes[None].equalities
    monkeypatch.setattr("services.changefeed.selection.required_equality", lambda steps: None)
    # A filter of its own before the condition makes these selections others.
    always = FilterStep(func(lambda row: True))
    tried = [await suite.open(steps=[always, FilterStep(func(condition))]) for condition in conditions]
    choose = random.Random(1)
    values = [0, 1, 2, 1.5, True, False, None, "x", [1], {"b": 1}]
    for _ in range(150):
        row = {"id": choose.randint(0, 3)}
        row.update({field: choose.choice(values) for field in "ab" if choose.random() < 0.8})  # type: ignore[arg-type]
        await suite.put(row)
    total = 0
    for one, other in zip(looked_up, tried, strict=True):
        changes = await ready(one)
        assert changes == await ready(other)
        total += len(changes)
    assert total
    for feed in looked_up:
        await feed.close()
    assert not follower.router._routes[None].equalities
