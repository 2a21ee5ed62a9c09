"""Evaluations are plain functions that may wait in the middle."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from photondb.reql.suspend import Evaluation, wait


async def at_once(value: Any) -> Any:
    return value


async def later(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


async def test_what_needs_no_waiting_finishes_at_once() -> None:
    evaluation = Evaluation().begin(lambda: wait(at_once(1)) + wait(at_once(2)))
    assert evaluation.finished
    assert evaluation.result() == 3


async def test_many_evaluations_wait_side_by_side() -> None:
    def evaluate(number: int) -> int:
        total = 0
        for step in range(5):
            total += wait(later(number * step))
        return total

    evaluations = [Evaluation().begin(evaluate, number) for number in range(500)]
    assert not any(evaluation.finished for evaluation in evaluations)
    results = await asyncio.gather(*(evaluation.complete() for evaluation in evaluations))
    assert results == [number * 10 for number in range(500)]


async def test_errors_come_out_on_either_side_of_a_wait() -> None:
    def fail_before() -> None:
        raise ValueError("before")

    def fail_after() -> None:
        wait(later(None))
        raise ValueError("after")

    async def broken() -> None:
        await asyncio.sleep(0)
        raise KeyError("inside")

    before = Evaluation().begin(fail_before)
    assert before.finished
    with pytest.raises(ValueError, match="before"):
        before.result()
    with pytest.raises(ValueError, match="after"):
        await Evaluation().begin(fail_after).complete()
    with pytest.raises(KeyError):
        await Evaluation().begin(lambda: wait(broken())).complete()


async def test_cancelling_unwinds_the_evaluation_where_it_waits() -> None:
    unwound = []

    def evaluate() -> None:
        try:
            wait(asyncio.sleep(60))
        finally:
            unwound.append(True)

    task = asyncio.create_task(Evaluation().begin(evaluate).complete())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert unwound == [True]


async def test_a_greenlet_is_used_again_and_keeps_nothing_alive() -> None:
    import gc
    import weakref

    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    Evaluation().begin(lambda kept: wait(at_once(kept)), thing).result()
    del thing
    gc.collect()
    assert gone() is None


async def test_generators_may_go_on_in_another_evaluation() -> None:
    def numbers() -> Any:
        for number in range(3):
            yield wait(later(number))

    generator = numbers()
    taken = [await Evaluation().begin(next, generator, None).complete() for _ in range(4)]
    assert taken == [0, 1, 2, None]


def test_waiting_outside_of_an_evaluation_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="outside of an evaluation"):
            wait(later(1))

    asyncio.run(main())


def test_every_thread_has_its_own() -> None:
    def evaluate() -> None:
        for number in range(3):
            results.append(asyncio.run(Evaluation().begin(lambda number=number: wait(later(number))).complete()))

    results: list[int] = []
    for _ in range(3):
        thread = threading.Thread(target=evaluate)
        thread.start()
        thread.join()
    assert results == [0, 1, 2] * 3
