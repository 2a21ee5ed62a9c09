"""Calls on a peer's capability: contexts and deadlines go out, errors come back as exceptions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import msgspec
from capnp import KjException

from photondb.api.context import CallContext
from photondb.reql.errors import ErrorKind, ReqlError, op_failed
from photondb.rpc.context import write_context
from photondb.rpc.deadline import within
from photondb.rpc.errors import ConnectionLost, DeadlineExceeded, InternalError, WireError
from photondb.rpc.limits import MESSAGE_WORDS
from photondb.telemetry import tracing
from photondb.telemetry.operations import rpc_operation
from photondb.telemetry.spans import SpanKind

_log = logging.getLogger(__name__)

CALLS_IN_FLIGHT: Counter[str] = Counter()
"""Calls of this process that were not answered yet, by the service that they were made to."""


class Method(msgspec.Struct, frozen=True):
    """A method by its name in the schema. `effects` says that it may change something, so that a lost answer leaves
    open whether it has."""

    name: str
    effects: bool = False


class Remote:
    """A capability that a peer holds the object of. Dropping the last reference frees the object.

    It belongs to the loop's thread: the last reference must not be dropped in another one. `service` names the peer in
    error messages.
    """

    __slots__ = ("_capability", "service")

    def __init__(self, capability: Any, service: str) -> None:
        capability._parent = None  # the message that it came in, which would stay in the memory of both sides
        self._capability = capability
        self.service = service

    def call(self, method: Method, context: CallContext, /, **parameters: Any) -> Coroutine[Any, Any, Any]:
        """Call a method and return its result's reader, whose `ok` is set.

        Raises what the peer's method raised; ConnectionLost; and DeadlineExceeded when the context's deadline passes,
        also where the peer hangs. Cancelling the call cancels it in the peer, too.
        """
        if context.spans:
            return self._call_traced(method, context, parameters)
        return self._call(method, context, parameters)

    async def _call_traced(self, method: Method, context: CallContext, parameters: dict[str, Any]) -> Any:
        with tracing.span(rpc_operation(SpanKind.CLIENT, self.service, method.name), context) as span:
            return await self._call(method, span.within(context), parameters)

    async def _call(self, method: Method, context: CallContext, parameters: dict[str, Any]) -> Any:
        remaining_ms = context.remaining_ms()
        if remaining_ms == 0:
            raise DeadlineExceeded("The deadline passed before the call was made.")
        request = self._capability._request(method.name)
        write_context(request.init("context"), context, remaining_ms)
        for name, value in parameters.items():
            setattr(request, name, value)
        CALLS_IN_FLIGHT[self.service] += 1
        try:
            promise = request.send()
            del request  # its memory is not needed while waiting
            if remaining_ms is None:
                response = await promise
            else:
                response = await within(_future(promise), remaining_ms)
        except KjException as error:
            raise self._translated(error, method) from None
        except TimeoutError:
            message = f"The {self.service} service did not answer before the deadline."
            raise DeadlineExceeded(message, indeterminate=method.effects) from None
        finally:
            CALLS_IN_FLIGHT[self.service] -= 1
        if response._which_str() == "error":  # `which()` makes an enumeration of it, which costs ten times as much
            raise WireError.read(response.error).exception()
        return response

    def _translated(self, error: KjException, method: Method) -> ReqlError:
        """What a failure of the call itself means to the caller."""
        if error.type == "DISCONNECTED":
            message = f"The connection to the {self.service} service was lost."
            return ConnectionLost(message, indeterminate=method.effects)
        if error.type == "UNIMPLEMENTED":
            return op_failed(f"The {self.service} service does not know `{method.name}`: it is of an older version.")
        if "larger than our single-message" in str(error):
            return ReqlError(
                ErrorKind.RESOURCE_LIMIT,
                f"`{method.name}` of the {self.service} service does not fit into {MESSAGE_WORDS * 8} bytes.",
            )
        request_id = uuid.uuid4().hex[:16]
        _log.error("a call failed in Cap'n Proto: %s", error, extra={"request_id": request_id})
        return InternalError(
            f"Calling the {self.service} service failed. The log has the details under request id {request_id}.",
            request_id,
        )


def _future(promise: Any) -> asyncio.Future[Any]:
    """The future that pycapnp makes when a promise is awaited: the first thing that it waits for."""
    future: asyncio.Future[Any] = next(promise.__await__())
    future._asyncio_future_blocking = False  # as it was before; who awaits it sets it again
    return future


_CLOSE = Method("close")
_CLOSE_TIMEOUT_S = 5.0


class RemoteObject:
    """The base of stubs for objects that live in a peer and are freed there: by `close`, or with the stub."""

    def __init__(self, remote: Remote) -> None:
        self._remote: Remote | None = remote

    @property
    def remote(self) -> Remote:
        """The capability. Raises ReqlError when it was closed."""
        if self._remote is None:
            raise op_failed("It is closed.")
        return self._remote

    async def close(self) -> None:
        """Free the object. Closing twice, or what is lost already, is allowed."""
        remote = self._remote
        self.drop()
        if remote is not None:
            with contextlib.suppress(ReqlError):  # then dropping it will do
                await remote.call(_CLOSE, CallContext(deadline=time.monotonic() + _CLOSE_TIMEOUT_S))

    def drop(self) -> None:
        """Free the object without waiting."""
        self._remote = None
