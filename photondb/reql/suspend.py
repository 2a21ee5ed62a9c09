"""Suspending an evaluation: the evaluator is synchronous code that may wait for storage in a pooled greenlet.

`wait` is called by the evaluator, `Evaluation` is what runs it: the event loop's side never sees a greenlet, the
evaluator's side never sees a coroutine that isn't done. An awaitable that needs no waiting (a call inside the process
that is answered at once) costs no switch at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import FrameType
from typing import Any, TypeVar
from weakref import WeakSet

from greenlet import getcurrent, greenlet

T = TypeVar("T")

POOL_SIZE = 256
"""Idle greenlets kept for later evaluations; making one costs ten times as much as using one again."""

_pool: list[Any] = []
_turns = 0


class _Stack(greenlet):  # type: ignore[misc]
    """What evaluations run on. `calling` is true while it runs the beginning of something that it will wait for."""

    calling = False


_stacks: WeakSet[_Stack] = WeakSet()


def suspended_stacks() -> list[FrameType]:
    """The innermost frames of all evaluations that wait for something."""
    idle = set(map(id, _pool))
    frames = [stack.gr_frame for stack in list(_stacks) if id(stack) not in idle and not stack.dead]
    return [frame for frame in frames if frame is not None]


class _Suspended:
    """What an evaluation hands out when it must wait: a coroutine and the future at which it stopped."""

    __slots__ = ("coroutine", "future")

    def __init__(self, coroutine: Any, future: Any) -> None:
        self.coroutine = coroutine
        self.future = future

    def __await__(self) -> Generator[Any, Any, Any]:
        """Go on with the coroutine from where it stopped; must run in a task."""
        coroutine, future = self.coroutine, self.future
        while True:
            try:
                value = yield future
            except BaseException as error:
                try:
                    future = coroutine.throw(error)
                except StopIteration as done:
                    return done.value
            else:
                try:
                    future = coroutine.send(value)
                except StopIteration as done:
                    return done.value


def wait(awaitable: Awaitable[T]) -> T:
    """The awaitable's result, from synchronous code inside an evaluation. Raises what the awaitable raises."""
    me = getcurrent()
    generator: Any = awaitable.__await__()
    result: T
    me.calling = True
    try:
        future = generator.send(None)
    except StopIteration as done:
        result = done.value
        return result
    finally:
        me.calling = False
    parent = me.parent
    if parent is None:
        generator.close()
        raise RuntimeError("wait() was called outside of an evaluation")
    result = parent.switch(_Suspended(generator, future))
    return result


def turns() -> int:
    """How often an evaluation has begun or gone on: as long as that stays the same, only one has been running."""
    return _turns


def may_wait() -> bool:
    """Whether this is the code of an evaluation, which may be suspended: neither a plain coroutine nor the beginning of
    one that an evaluation waits for, whose code counts on not being interrupted between two of its own waits."""
    me = getcurrent()
    return type(me) is _Stack and not me.calling


class _Finished:
    __slots__ = ("error", "value")

    def __init__(self, value: Any, error: BaseException | None) -> None:
        self.value = value
        self.error = error


def _run(evaluation: Evaluation, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        evaluation.state = _Finished(function(*args), None)
    except BaseException as error:
        evaluation.state = _Finished(None, error)


def _work() -> None:
    """The body of a pooled greenlet: it runs one evaluation after another.

    It must keep nothing of one that is over, and what is passed to a call lives as long as the call. So jobs are
    switched in and not passed when the greenlet begins, and results are left in the evaluation and not switched out.
    """
    me = getcurrent()
    while True:
        _run(*me.parent.switch())
        if len(_pool) >= POOL_SIZE:
            return
        _pool.append(me)


def _stack() -> Any:
    """What an evaluation can run on: one that was used before and is idle, or a new one."""
    while _pool:
        stack = _pool.pop()
        try:
            stack.parent = getcurrent()
        except ValueError:  # it belongs to another thread
            continue
        return stack
    stack = _Stack(_work)
    _stacks.add(stack)
    stack.switch()
    return stack


class Evaluation:
    """One run of synchronous code that may call `wait`.

    `begin` runs it up to its first wait. If it got to its end, `finished` is true and `result()` gives the value or
    raises; otherwise `await evaluation.complete()` carries on (in a task). Cancelling that task raises
    `asyncio.CancelledError` at the point where the evaluation waits.
    """

    __slots__ = ("_greenlet", "state")

    def __init__(self) -> None:
        self._greenlet: Any = None
        self.state: Any = None

    def begin(self, function: Callable[..., Any], *args: Any) -> Evaluation:
        """Start `function(*args)`; returns itself."""
        global _turns
        _turns += 1
        self._greenlet = _stack()
        self._note(self._greenlet.switch(self, function, args))
        return self

    def _note(self, switched_out: Any) -> None:
        if type(switched_out) is _Suspended:  # a finished evaluation has left its result already
            self.state = switched_out

    @property
    def finished(self) -> bool:
        return type(self.state) is _Finished

    def result(self) -> Any:
        """The value of a finished evaluation; raises what it raised."""
        state = self.state
        if state.error is not None:
            raise state.error
        return state.value

    async def complete(self) -> Any:
        """Wait for what the evaluation waits for until it is finished, and return its result."""
        global _turns
        running = self._greenlet
        while type(self.state) is _Suspended:
            try:
                value = await self.state
            except BaseException as error:
                _turns += 1
                running.parent = getcurrent()
                self._note(running.throw(error))
            else:
                _turns += 1
                running.parent = getcurrent()
                self._note(running.switch(value))
        return self.result()
