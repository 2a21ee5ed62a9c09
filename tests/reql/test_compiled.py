"""Compiled things are kept, but not without end."""

from __future__ import annotations

from photondb.reql.compiled import CompiledCache
from photondb.reql.compiler import compile_function
from photondb.reql.shape import Shaper
from services.query.plans import PlanCache


def test_what_was_compiled_first_leaves_first() -> None:
    cache: CompiledCache[str] = CompiledCache(max_entries=3)
    for number in range(5):
        cache.keep(number, str(number), 1)
    assert [cache.get(number) for number in range(5)] == [None, None, "2", "3", "4"]
    assert (len(cache), cache.weight) == (3, 3)


def test_all_together_have_a_weight_and_what_is_large_is_not_kept() -> None:
    cache: CompiledCache[str] = CompiledCache(max_weight=800)
    cache.keep("large", "large", 101)
    assert cache.get("large") is None
    for number in range(20):
        cache.keep(number, str(number), 100)
    assert (len(cache), cache.weight) == (8, 800)
    assert cache.get(19) == "19"


def test_plans_weigh_what_they_have_in_terms_and_names() -> None:
    plans = PlanCache()

    def weight(term: list[object]) -> int:
        shaper = Shaper(now=None)
        return plans.plan(shaper, shaper.shape(term), frozenset()).weight

    small = weight([24, [1, 2]])
    assert small == 3
    assert weight([2, [[24, [number, 1]] for number in range(1000)]]) > 1000
    assert weight([170, [{"a": [24, [1, 2]]}, "x" * 100_000]]) > 100
    assert (plans.hits, plans.misses) == (0, 3)
    shaper = Shaper(now=None)
    assert plans.find(shaper.shape([24, [7, 8]]), frozenset()) is not None


def test_functions_of_one_shape_are_compiled_once() -> None:
    first = compile_function([69, [[2, [1]], [24, [[10, [1]], 5]]]])
    second = compile_function([69, [[2, [9]], [24, [[10, [9]], 6]]]])
    assert first.code is not second.code or first.body is second.body
    assert (first.call(1), second.call(1)) == (6, 7)
