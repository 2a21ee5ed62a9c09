"""Starting a coroutine without a task: one is made only if the coroutine has to wait.

Calls within one process mostly finish without waiting for anything (a read that the store's cache answers, say). A
task for each would cost more than the call itself.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Generator, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")


class Eager(Generic[T]):
    """A coroutine that was started. `task` carries it on, or is None when it has finished already."""

    __slots__ = ("_value", "task")

    def __init__(self, task: asyncio.Task[T] | None, value: Any) -> None:
        self.task = task
        self._value = value

    @property
    def value(self) -> T:
        """What the coroutine returned. Of a task it is the result, or the exception is raised; it must be done."""
        if self.task is not None:
            return self.task.result()
        value: T = self._value
        return value


def start_eagerly(coroutine: Coroutine[Any, Any, T]) -> Eager[T]:
    """Run `coroutine` right now up to where it first has to wait, and make a task of the rest.

    An exception before that point is raised here; a later one is the task's. Cancelling the task cancels the coroutine
    where it waits. The coroutine has a copy of the caller's context variables throughout.

    In the part that runs here `asyncio.current_task()` is None, even when the caller is a task: what needs one, such as
    `asyncio.timeout`, must come after the first wait.
    """
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    caller = asyncio.current_task(loop)
    if caller is not None:
        asyncio._leave_task(loop, caller)  # what asyncio offers to those who drive coroutines themselves
    try:
        waits_for = context.run(coroutine.send, None)
    except StopIteration as finished:
        return Eager(None, finished.value)
    finally:
        if caller is not None:
            asyncio._enter_task(loop, caller)
    return Eager(loop.create_task(_Rest(coroutine, waits_for, context), context=context), None)


async def together(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
    """What the coroutines return or raise, as `asyncio.gather` gives it with `return_exceptions`, without tasks of
    their own. All have begun before the first is waited for; then they go on one after another. So it is for those that
    wait once, for somebody else.

    Cancelling it cancels them. They have the caller's context variables.
    """
    context = contextvars.copy_context()
    outcomes: list[Any] = []
    rest: list[tuple[int, _Rest[T]]] = []
    for position, coroutine in enumerate(coroutines):
        try:
            waits_for = coroutine.send(None)
        except StopIteration as finished:
            outcomes.append(finished.value)
        except Exception as error:
            outcomes.append(error)
        else:
            outcomes.append(None)
            rest.append((position, _Rest(coroutine, waits_for, context)))
    for number, (position, unfinished) in enumerate(rest):
        try:
            outcomes[position] = await unfinished
        except Exception as error:
            outcomes[position] = error
        except BaseException:
            for _, later in rest[number + 1 :]:
                later.give_up()
            raise
    return outcomes


_NOTHING = object()


class _Rest(Generator[Any, Any, T]):
    """What is left of a coroutine that waits for something, as a coroutine that begins by waiting for it.

    It is not written as a generator function: a task that is cancelled before its first step throws into its coroutine
    there and then, and a generator function that has not begun would not pass that on.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], waits_for: Any, context: contextvars.Context) -> None:
        self.context = context
        self._coroutine = coroutine
        self._waits_for = waits_for

    def send(self, value: Any) -> Any:
        waits_for = self._waits_for
        if waits_for is _NOTHING:
            return self._coroutine.send(value)
        self._waits_for = _NOTHING
        return waits_for

    def throw(self, *error: Any) -> Any:
        self._waits_for = _NOTHING
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def give_up(self) -> None:
        """End the coroutine, and what it waits for; it has not gone on since it was begun."""
        waits_for, self._waits_for = self._waits_for, _NOTHING
        if asyncio.isfuture(waits_for):
            waits_for.cancel()
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self


class _Finished:
    """A coroutine that has returned None already, and the task of it, with what pycapnp asks of a task."""

    cancelled: Any = staticmethod(bool)  # gives False
    cancel: Any = cancelled
    exception: Any = staticmethod(type(None))  # gives None
    result: Any = exception
    _fulfiller: Any = None
    """Where pycapnp notes whom the task tells of its end."""

    def add_done_callback(self, callback: Any) -> None:
        callback(self)

    def send(self, value: Any) -> Any:
        raise StopIteration

    def throw(self, *error: Any) -> Any:
        raise StopIteration

    def close(self) -> None:
        pass

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


Begun: TypeAlias = _Finished | _Rest[None]


def begin(coroutine: Coroutine[Any, Any, None]) -> Begun:
    """Run `coroutine` up to where it first has to wait, as `start_eagerly` does, for someone who makes a task of what
    comes back: pycapnp, of what handles a call. On a loop with `task_factory` there is no task if nothing is left.

    It must not be called from within a task.
    """
    context = contextvars.copy_context()
    try:
        waits_for = context.run(coroutine.send, None)
    except StopIteration:
        return _Finished()
    return _Rest(coroutine, waits_for, context)


def task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context | None = None
) -> asyncio.Task[Any]:
    """Makes the tasks of a loop: those of coroutines that were begun already in the context that they were begun in."""
    kind = type(coroutine)
    if kind is _Finished:
        return coroutine  # type: ignore[no-any-return]
    if kind is _Rest:
        context = coroutine.context
    return asyncio.Task(coroutine, loop=loop, context=context)
