"""Evaluates driver terms in this process, for tests of terms that read no table."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import photondb.reql.terms  # noqa: F401  # registers the terms
from photondb.api.catalogue import Catalogue, DatabaseInfo, TableInfo
from photondb.datum.time import make_time
from photondb.reql.compiler import Compiler
from photondb.reql.errors import ReqlError
from photondb.reql.function import Frame
from photondb.reql.memory import MemoryBudget
from photondb.reql.nesting import check_nesting
from photondb.reql.runtime import Runtime
from photondb.reql.shape import Shaper
from photondb.reql.spilling.space import SpillSpace
from photondb.reql.stream import Stream
from photondb.reql.suspend import Evaluation
from photondb.reql.values import Grouped, as_datum

NOW = make_time(1_375_147_296.681, "+00:00")
"""What `r.now()` is in evaluated queries."""

_CATALOGUE = Catalogue(
    version=1,
    databases={"test": DatabaseInfo(uuid="00000000-0000-4000-8000-000000000001", name="test")},
    tables={("test", "table"): TableInfo(1, "00000000-0000-4000-8000-000000000002", "table", "test")},
)
_SERVICE: Any = SimpleNamespace(
    storage=None,
    auth=None,
    catalogue=_CATALOGUE,
    memory=MemoryBudget(1 << 30),
    spills=SpillSpace(Path(tempfile.gettempdir())),
)
"""What is around these queries: they may name `r.db("test").table("table")`, but not read it."""


def wire_term(query: Any) -> Any:
    """A driver term as it goes over the wire."""
    return json.loads(json.dumps(query, default=lambda part: part.build()))


def evaluate(query: Any, **options: Any) -> Any:
    """The datum that `query`, a term of the official driver or a wire term, evaluates to.

    A stream becomes the list of its rows, grouped data a list of [group, value] pairs. Pseudo types stay objects.
    `options` are run options. Raises ReqlError with its frames.
    """
    shaper = Shaper(NOW)
    shape = shaper.shape(wire_term(query))
    compiler = Compiler(len(shaper.constants), shaper.variables, frozenset(options))
    check_nesting(shape)
    node = compiler.compile(shape, ())
    runtime = Runtime(_SERVICE, options=options)
    frame: Frame = [runtime, *shaper.constants]
    frame.extend([None] * (compiler.frame_size - len(frame)))
    return asyncio.run(_complete(Evaluation().begin, lambda: _datum(node.run(frame), runtime)))


def failure(query: Any, **options: Any) -> ReqlError:
    """The error that a query fails with."""
    with pytest.raises(ReqlError) as caught:
        evaluate(query, **options)
    return caught.value


async def _complete(begin: Any, function: Any) -> Any:
    evaluation = begin(function)
    return evaluation.result() if evaluation.finished else await evaluation.complete()


def _datum(value: Any, runtime: Runtime) -> Any:
    if isinstance(value, Stream):
        value = value.to_list(runtime) if value.grouping is None else value.to_grouped(runtime)
    if type(value) is Grouped:
        return [[group, member] for group, member in value.pairs]
    return as_datum(value)
