"""Queries about constants alone are answered where they arrive, with what the evaluator answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rethinkdb import r

from photondb.reql.effects import Effects
from photondb.reql.shape import Shaper
from services.query import batch, pure_queries
from services.query.plans import Plan
from tests.query.conftest import Client
from tests.reql.evaluate import wire_term

NOW = {"$reql_type$": "TIME", "epoch_time": 1, "timezone": "+00:00"}

VALUES = [
    r.expr(17) + 1,
    r.expr(1) / 3,
    r.expr(2**53) + 1,
    r.expr(0) * -1.5,
    r.expr("a") + "b",
    r.expr("a\u00e4\u2028") + "\U0001f600",
    r.expr(5) < 7,
    r.expr([1, "a"]).add([None]),
    r.expr({"a": [r.expr(1) + 1, {"b": True}]}),
    r.expr({"a": 1})["a"],
    r.expr({"a": 1}).merge({"b": r.expr(2) * 3}),
    r.expr({"a": 1})["b"].default("none"),
    r.branch(r.expr(1) > 2, "a", r.expr(1) > 0, "b", "c"),
    r.expr(5).do(lambda x: x * x + x),
    r.expr([3, 1, 2]).map(lambda x: x + 1).filter(lambda x: x > 2),
    r.expr([3, 1, 2]).order_by(lambda x: x),
    r.expr([3, 1, 2]).sum(),
    r.expr([3, 1, 3]).distinct(),
    r.expr([3, 1, 3]).max(),
    r.expr([3, 1, 3]).contains(1),
    r.expr([3, 1, 3]).fold(0, lambda total, x: total + x),
    r.expr([[1, 2], [3]]).concat_map(lambda x: x),
    r.expr("a b c").split(" "),
    r.epoch_time(7).year(),
    r.epoch_time(7),
    r.expr(b"ab"),
    r.expr(None),
    r.expr(7),
]

ERRORS = [
    r.expr(1) / 0,
    r.expr({"a": 1})["b"],
    r.expr([1, 2]).map(lambda x: x + {"a": x.upcase()}),
    r.error("mine"),
    r.expr([1, r.maxval]),
    r.literal(1),
]

LEFT_TO_THE_EVALUATOR = [
    r.range(5),
    r.expr([1] * 1500).map(lambda x: x + 1).sum(),
    r.expr([{"a": 1}, {"a": 2}]).group("a"),
    r.expr([1] * 600) * 200,
    r.minval,
]


def compiled(query: Any, options: frozenset[str] = frozenset()) -> tuple[Plan, list[Any]]:
    shaper = Shaper(NOW)
    shape = shaper.shape(wire_term(query))
    return Plan(shape, len(shaper.constants), shaper.variables, options), shaper.constants


async def test_the_answers_are_those_of_the_evaluator(client: Client) -> None:
    for query in VALUES:
        plan, constants = compiled(query)
        expected = await client.run(query, optimizations=False)
        assert expected["t"] == 1
        payload = pure_queries.pure_response(plan, constants)
        assert payload is not None, query
        assert json.loads(payload) == expected
        for _ in range(2):  # the first one compiles the plan
            assert await client.run(query) == expected
        assert plan.pure


async def test_errors_have_their_place_in_the_query(client: Client) -> None:
    for query in ERRORS:
        expected = await client.run(query, optimizations=False)
        assert expected["t"] == 18
        for _ in range(2):
            assert await client.run(query) == expected
        plan, constants = compiled(query)
        assert plan.pure
        assert pure_queries.pure_response(plan, constants) is None
        assert plan.pure, "with other constants it may be a value"


async def test_what_takes_long_or_is_no_plain_value_is_left_to_the_evaluator(client: Client) -> None:
    for query in LEFT_TO_THE_EVALUATOR:
        expected = await client.run(query, optimizations=False)
        for _ in range(3):
            assert await client.run(query) == expected
    assert not any(plan.pure for plan in _cached(client))


def _cached(client: Client) -> list[Plan]:
    return [plan for plan, _ in client.query.plans._entries.values()]


@pytest.mark.parametrize(
    ("query", "pure"),
    [
        (r.now() + 1, True),
        (r.table("t").get(1), False),
        (r.db_list(), False),
        (r.random(1, 2), False),
        (r.uuid(), False),
        (r.js("1"), False),
        (r.http("http://127.0.0.1:1/"), False),
        (r.range(), False),
        (r.circle([0, 0], 5), False),
    ],
    ids=str,
)
def test_pure_is_what_reads_nothing_and_waits_for_nothing(query: Any, pure: bool) -> None:
    assert compiled(query)[0].pure is pure


@pytest.mark.parametrize("option", ["array_limit", "profile", "optimizations", "transaction", "explain", "cache"])
def test_options_that_are_about_evaluation_need_one(option: str) -> None:
    assert compiled(r.expr(1) + 1, frozenset({"db", "durability"}))[0].pure
    assert not compiled(r.expr(1) + 1, frozenset({option}))[0].pure


def test_effects() -> None:
    assert [effect for effect in Effects if pure_queries.is_pure(effect)] == [Effects.NOW]


async def test_they_are_answered_in_the_call_beside_reads(client: Client) -> None:
    await client.run(r.table_create("users"))
    for query in (r.expr(1) + 1, r.table("users").get(1)):
        await client.run(query)
    frames = [(token, [1, [24, [token, 1]]]) for token in range(20)]
    answers = await client.submit((50, [1, [16, [[15, ["users"]], 1]]]), *frames)
    assert {answer.token: json.loads(answer.payload)["r"] for answer in answers} == {
        50: [None],
        **{token: [token + 1] for token in range(20)},
    }


async def test_when_they_have_had_their_time_others_get_their_turn(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.run(r.table_create("users"))
    read = [1, [16, [[15, ["users"]], 1]]]
    for query in (r.expr(1) + 1, r.table("users").get(1)):
        await client.run(query)
    monkeypatch.setattr(batch, "PURE_S", -1.0)
    answers = await client.submit((1, [1, [24, [1, 1]]]), (2, read))
    assert [answer.token for answer in answers] == [2]
    assert (await client.ask(3, [1, [24, [2, 1]]]))["r"] == [3]
    assert [json.loads(answer.payload)["r"] for answer in client.answers if answer.token == 1] == [[2]]


async def test_noreply_is_not_answered(client: Client) -> None:
    for _ in range(2):
        assert await client.run(r.expr(1) + 1, noreply=True) == {}


async def test_they_are_counted(client: Client) -> None:
    for _ in range(5):
        await client.run(r.expr(1) + 1)
    assert client.query.metrics.requests._durations["compute"].count == 5
