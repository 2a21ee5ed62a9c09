"""Capabilities: Python objects that peers call.

A servant is made of *handlers*: an object with an async method for each method of a Cap'n Proto interface, of the
same name in snake case. A handler gets a `Call`, reads its parameters, does its work, and writes its result. Around it
stands what all calls have in common: admission, the context, the deadline, and that no exception ever leaves, because
Cap'n Proto would send the peer its traceback.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from photondb.api.context import CURRENT, CallContext
from photondb.rpc.admission import Admission
from photondb.rpc.context import read_context
from photondb.rpc.deadline import is_cancelled
from photondb.rpc.eager import begin
from photondb.rpc.errors import DeadlineExceeded, Overloaded, WireError
from photondb.rpc.versions import VERSION
from photondb.telemetry import tracing
from photondb.telemetry.operations import rpc_operation
from photondb.telemetry.spans import SpanKind

_log = logging.getLogger(__name__)

DEFAULT_MAX_CALLS = 1024
"""How many calls a server carries out at a time unless it is told otherwise."""


class Call:
    """A call as its handler sees it.

    `params` must be copied to Python values before the handler first waits: what pycapnp gives points into a message
    that is freed when the call is cancelled.
    """

    __slots__ = ("_call", "context")

    def __init__(self, call: Any) -> None:
        self._call = call
        self.context: CallContext = read_context(call.params._get("context"))

    @property
    def params(self) -> Any:
        """The reader of the parameters."""
        return self._call.params

    def release_params(self) -> None:
        """Free the message with the parameters. For calls that wait for long."""
        self._call.release_params()

    @property
    def results(self) -> Any:
        """The builder of the result. Raises CancelledError once the call is cancelled, even where the handler went
        on regardless: pycapnp would write to memory that is free."""
        if is_cancelled():
            raise asyncio.CancelledError
        return self._call.results


class Handlers:
    """The base of all handlers. `service` is the name that errors and `ping` give, `admission` the server's limit.

    `unlimited` names methods that are not counted: those that free something, and those that may wait for hours.
    `eager` are those that mostly need not wait: they are carried out where their calls arrive, and become tasks where
    they have to wait. Up to there they are in no task, so that `asyncio.timeout` is not for them.
    """

    unlimited: frozenset[str] = frozenset()
    eager: frozenset[str] = frozenset()
    version: int = VERSION
    """The version of the interfaces that `ping` tells."""

    def __init__(self, service: str, admission: Admission) -> None:
        self.service = service
        self.admission = admission

    def dropped(self) -> None:
        """Called when no peer holds the capability any more, on the loop's thread. It must not wait."""


class Closable(Protocol):
    """What `ClosableHandlers` stand for."""

    async def close(self) -> None: ...


class ClosableHandlers(Handlers):
    """Handlers for an object that is closed with its capability: by `close`, or when that is dropped."""

    unlimited = frozenset({"close"})

    def __init__(self, owner: Handlers, closable: Closable) -> None:
        super().__init__(owner.service, owner.admission)
        self._closable: Closable | None = closable

    async def close(self, call: Call) -> None:
        closable, self._closable = self._closable, None
        if closable is not None:
            await closable.close()
        call.results.ok = None

    def dropped(self) -> None:
        closable, self._closable = self._closable, None
        if closable is not None:
            # In an empty context, because this may happen in anybody's.
            task = asyncio.get_running_loop().create_task(closable.close(), context=contextvars.Context())
            _closing.add(task)
            task.add_done_callback(_closed)


_closing: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references to tasks


def _closed(task: asyncio.Task[None]) -> None:
    _closing.discard(task)
    if not task.cancelled() and task.exception() is not None:
        _log.error("closing what a peer has dropped failed", exc_info=task.exception())


Servant: TypeAlias = Any
"""An object of pycapnp's: sent to a peer, or given to a server, it becomes a capability."""


def servant(interface: Any, handlers: Handlers) -> Servant:
    """A capability with the given interface (such as `schema.STORAGE.Storage`) that `handlers` carries out."""
    return _servant_class(interface)(handlers)


@functools.cache
def _servant_class(interface: Any) -> Any:
    """The subclass of pycapnp's server class for an interface, with a method for each of the interface's."""
    members: dict[str, Any] = {"__init__": _init, "__del__": _drop}
    for name in interface.schema.method_names_inherited:
        members[f"{name}_context"] = _ping if name == "ping" else _carry_out(name, _snake_case(name))
    return type("Servant", (interface.Server,), members)


def _init(self: Any, handlers: Handlers) -> None:
    self.handlers = handlers


def _drop(self: Any) -> None:
    self.handlers.dropped()


def _snake_case(name: str) -> str:
    return re.sub("[A-Z]", lambda capital: "_" + capital[0].lower(), name)


async def _ping(self: Any, call: Any) -> None:
    call.results.service = self.handlers.service
    call.results.version = self.handlers.version


def _carry_out(method: str, name: str) -> Callable[[Any, Any], Any]:
    """The implementation of `method`, which pycapnp calls, by the handler called `name`."""

    def start(self: Any, raw_call: Any) -> Any:
        carrying_out = carry_out(self, raw_call)
        return begin(carrying_out) if name in self.handlers.eager else carrying_out

    async def carry_out(self: Any, raw_call: Any) -> None:
        handlers: Handlers = self.handlers
        admission = None if name in handlers.unlimited else handlers.admission
        if admission is not None and not admission.enter():
            message = f"The {handlers.service} service is overloaded: it carries out {admission.limit} calls."
            _fail(raw_call, Overloaded(message), handlers.service, "")
            return
        request_id = ""
        try:
            call = Call(raw_call)
            request_id = call.context.request_id
            handler = getattr(handlers, name)
            if call.context.spans:
                handler = _traced(handler, handlers.service, method)
            CURRENT.set(call.context)
            if call.context.deadline is None:
                await handler(call)
            else:
                await _before_deadline(handler, call, handlers.service)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            # Something that the handler waited for was cancelled, and not the call: the caller still wants an answer.
            _fail(raw_call, RuntimeError(f"{name} was cancelled from within"), handlers.service, request_id)
        except Exception as error:
            _fail(raw_call, error, handlers.service, request_id)
        finally:
            if admission is not None:
                admission.leave()

    return start


def _traced(handler: Callable[[Call], Awaitable[None]], service: str, method: str) -> Callable[[Call], Awaitable[None]]:
    """The handler within a span of its own."""

    async def traced(call: Call) -> None:
        with tracing.span(rpc_operation(SpanKind.SERVER, service, method), call.context) as span:
            call.context = span.within(call.context)
            CURRENT.set(call.context)
            await handler(call)

    return traced


async def _before_deadline(handler: Callable[[Call], Awaitable[None]], call: Call, service: str) -> None:
    """Carry out a call, and cancel it at its deadline. (`asyncio.timeout` would cost a quarter of the call.)"""
    remaining_ms = call.context.remaining_ms()
    assert remaining_ms is not None
    if asyncio.current_task() is None:
        await asyncio.sleep(0)  # from here on it is one, which the deadline can cancel
    deadline = _Deadline(remaining_ms)
    try:
        await handler(call)
    except asyncio.CancelledError:
        if deadline.was_the_reason():
            raise DeadlineExceeded(f"The {service} service did not finish before the deadline.") from None
        raise
    finally:
        deadline.disarm()


class _Deadline:
    """Cancels the running task when its time is up.

    No frame of the call has the task in a local variable: the traceback of a cancelled task would close the cycle, and
    what the call holds would not be freed before the next collection.
    """

    def __init__(self, remaining_ms: int) -> None:
        self._expired = False
        task = asyncio.current_task()
        assert task is not None
        self._timer = asyncio.get_running_loop().call_later(remaining_ms / 1000, self._expire, task)

    def _expire(self, task: asyncio.Task[Any]) -> None:
        self._expired = True
        task.cancel()

    def was_the_reason(self) -> bool:
        """Whether the task was cancelled by this deadline, and by nobody else; it counts as not cancelled then."""
        task = asyncio.current_task()
        return self._expired and task is not None and task.uncancel() == 0

    def disarm(self) -> None:
        self._timer.cancel()


def _fail(raw_call: Any, error: BaseException, service: str, request_id: str) -> None:
    """Answer with an error, unless the caller has gone. Never raises: what it raised would go to the peer."""
    if is_cancelled():
        return
    builder = raw_call.results.init("error")  # as it is, an internal error without a message
    try:
        WireError.of(error, service, request_id).write(builder)
    except Exception:
        _log.exception("an error could not be written")
