"""Closures for calls of terms, one shape of call at a time.

Calling a term is the innermost step of evaluation, so that its argument handling is written out for each pattern of
arguments (how many, which need a check, which are named) by generating a few lines of Python once per pattern. A loop
over arguments would cost more than most terms do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from photondb.datum.errors import DatumError
from photondb.reql.errors import Frames, ReqlError
from photondb.reql.function import Frame
from photondb.reql.parameters import Check, reql_error

Run = Callable[[Frame], Any]

MAX_WRITTEN_OUT = 32
"""How many arguments are written out; calls of more are rare, and cost more than the loop."""


def call_closure(
    function: Callable[..., Any],
    wants_runtime: bool,
    args: Sequence[tuple[Run, Check | None]],
    named: Sequence[tuple[str, Run, Check | None]],
    path: Frames,
) -> Run:
    """A closure that evaluates and checks the arguments, calls `function` and marks its errors with `path`."""
    if len(args) + len(named) > MAX_WRITTEN_OUT:
        return _loop_closure(function, wants_runtime, args, named, path)
    pattern = "".join("c" if check else "-" for _, check in args)
    names = tuple(name + ("" if check else "-") for name, _, check in named)
    runs = [run for run, _ in args] + [run for _, run, _ in named]
    checks = [check for _, check in args] + [check for _, _, check in named]
    make = _factory(wants_runtime, pattern, names)
    closure: Run = make(function, path, runs, checks, ReqlError, DatumError, reql_error)
    return closure


def _loop_closure(
    function: Callable[..., Any],
    wants_runtime: bool,
    args: Sequence[tuple[Run, Check | None]],
    named: Sequence[tuple[str, Run, Check | None]],
    path: Frames,
) -> Run:
    """The same for a call of many arguments."""

    def run(frame: Frame) -> Any:
        try:
            values = [take(frame) if check is None else check(take(frame)) for take, check in args]
            options = {name: take(frame) if check is None else check(take(frame)) for name, take, check in named}
            return function(frame[0], *values, **options) if wants_runtime else function(*values, **options)
        except ReqlError as error:
            if error.frames is None:
                error.frames = path + error.where
            raise
        except DatumError as error:
            raise reql_error(error, path) from None

    return run


@functools.lru_cache(maxsize=4096)
def _factory(wants_runtime: bool, pattern: str, names: tuple[str, ...]) -> Callable[..., Run]:
    total = len(pattern) + len(names)
    values = []
    for i in range(total):
        name = names[i - len(pattern)] if i >= len(pattern) else None
        checked = pattern[i] == "c" if name is None else not name.endswith("-")
        value = f"c{i}(a{i}(f))" if checked else f"a{i}(f)"
        values.append(value if name is None else f"{name.rstrip('-')}={value}")
    if wants_runtime:
        values.insert(0, "f[0]")
    unpack = [
        f"    {''.join(f'{letter}{i}, ' for i in range(total))}= {source}"
        for letter, source in (("a", "runs"), ("c", "checks"))
    ]
    source = "\n".join(
        [
            "def make(function, path, runs, checks, ReqlError, DatumError, reql_error):",
            *(unpack if total else []),
            "    def run(f):",
            "        try:",
            f"            return function({', '.join(values)})",
            "        except ReqlError as error:",
            "            if error.frames is None:",
            "                error.frames = path + error.where",
            "            raise",
            "        except DatumError as error:",
            "            raise reql_error(error, path) from None",
            "    return run",
        ]
    )
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # the source is made of the pattern alone
    made: Callable[..., Run] = namespace["make"]
    return made
