"""`r.js`: a script's value, or the function that it gives."""

from __future__ import annotations

import atexit
import functools
import uuid
from typing import Any

from photondb.datum.errors import DatumError
from photondb.datum.extreme import Extreme
from photondb.datum.json import dumps, loads
from photondb.datum.size import check_size
from photondb.datum.validation import validate
from photondb.javascript import ArrayTooLong, Busy, JavaScriptError, Pool, TimedOut, WorkerCrashed
from photondb.reql import shape as shapes
from photondb.reql.effects import Effects
from photondb.reql.errors import ErrorKind, ReqlError, logic_error, resource_limit
from photondb.reql.function import Frame, Func, FunctionCode
from photondb.reql.parameters import Number, Runtime
from photondb.reql.registry import term
from photondb.reql.suspend import wait
from photondb.reql.values import check_array_size
from photondb.reql.wire import Term

WORKERS = 4
"""How many scripts run at once; more of them wait for their turn (`photondb.javascript.turns`)."""
DEFAULT_TIMEOUT_SECONDS = 5


@term(Term.JAVASCRIPT, effects=Effects.NONDETERMINISTIC)
def javascript(runtime: Runtime, source: str, *, timeout: Number = DEFAULT_TIMEOUT_SECONDS) -> Any:
    """The value of a JavaScript program, or the function that it gives. `timeout` is in seconds, for the program and
    for each call of the function."""
    script = _Script(source, max(int(timeout * 1000), 0))
    is_function, text = script.run(runtime, None)
    return script.function(runtime) if is_function else _value(text)


class _Script:
    """A script of a query."""

    def __init__(self, source: str, timeout_ms: int) -> None:
        self.source = source
        self.timeout_ms = timeout_ms
        self.session = uuid.uuid4().hex

    def run(self, runtime: Runtime, arguments: str | None) -> tuple[bool, str]:
        """Evaluate it, or call its function. Raises ReqlError."""
        limit = runtime.array_limit
        try:
            return wait(
                _pool().run(
                    self.session,
                    self.source,
                    arguments,
                    timeout_ms=self.timeout_ms,
                    array_limit=limit,
                    user=runtime.context.user,
                )
            )
        except JavaScriptError as error:
            raise logic_error(str(error)) from None
        except TimedOut:
            seconds = self.timeout_ms / 1000
            raise logic_error(f"JavaScript query `{self.source}` timed out after {seconds:.3f} seconds.") from None
        except Busy:
            raise resource_limit(
                f"Other calls of `r.js` with a timeout of more than {DEFAULT_TIMEOUT_SECONDS} seconds have all the "
                "workers that there are for them. Try again later, or with a shorter timeout."
            ) from None
        except ArrayTooLong:
            check_array_size(limit + 1, limit)
            raise
        except WorkerCrashed:
            message = f"Javascript query `{self.source}` caused a crash in a worker process."
            raise ReqlError(ErrorKind.INTERNAL, message) from None

    def function(self, runtime: Runtime) -> Func:
        """The function that it gives, which takes any number of arguments."""
        code = FunctionCode(
            slots=(),
            body=self._call,
            shape=(int(Term.FUNC), (), (int(Term.JAVASCRIPT), ((shapes.LITERAL, self.source),), ())),
            variable_base=1,
            captures=frozenset(),
            effects=Effects.NONDETERMINISTIC,
            fields=None,
            object_body=False,
            path=(),
            variadic=True,
        )
        return Func(code, [runtime])

    def _call(self, frame: Frame) -> Any:
        runtime, *arguments = frame
        return _value(self.run(runtime, _arguments(arguments))[1])


@functools.cache
def _pool() -> Pool:
    pool = Pool(WORKERS, usual_timeout_ms=DEFAULT_TIMEOUT_SECONDS * 1000)
    atexit.register(pool.close)
    return pool


def _arguments(values: list[Any]) -> str:
    """Values as a JSON array, in which the worker knows times."""
    check_size(values)
    for value in values:
        _check_argument(value)
    return dumps(values).decode()


def _check_argument(value: Any) -> None:
    if type(value) is Extreme:
        raise logic_error(f"`r.{value.type_name.lower()}` cannot be passed to `r.js`.")
    if type(value) is list:
        for element in value:
            _check_argument(element)
    elif type(value) is dict:
        if value.get("$reql_type$") == "BINARY":
            raise logic_error("`r.binary` data cannot be used in `r.js`.")
        for field in value.values():
            _check_argument(field)


def _value(text: str) -> Any:
    """The value of a script's JSON."""
    try:
        return validate(loads(text))
    except (DatumError, ValueError) as error:
        raise logic_error(str(error)) from None
