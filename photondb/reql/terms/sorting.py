"""Sorting: `order_by` with `asc` and `desc`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

from photondb.api.catalogue import IndexInfo
from photondb.reql.accumulators import Accumulator, Aggregate
from photondb.reql.callsite import call_closure
from photondb.reql.chunk import Chunk
from photondb.reql.compiler import Compiler, Node
from photondb.reql.errors import CompileError, ErrorKind, Frames, ReqlError, logic_error
from photondb.reql.function import Frame, Func
from photondb.reql.index_walk import IndexWalk
from photondb.reql.ordering import Ordering, TopRows
from photondb.reql.parameters import Runtime, as_field_function, as_string
from photondb.reql.registry import special_form
from photondb.reql.shape import Shape
from photondb.reql.sources import ComputedSource
from photondb.reql.spilling.sorting import sorted_chunks
from photondb.reql.steps import Step, keeps_count
from photondb.reql.stream import LOCAL_CHUNK_ROWS, Stream, batches, table_stream
from photondb.reql.terms.control import check_arity
from photondb.reql.terms.selections import slice_index
from photondb.reql.values import Grouped, TableSlice, as_datum, as_sequence
from photondb.reql.wire import Term

T = TypeVar("T")

NOT_A_TABLE = (
    "Indexed order_by can only be performed on a TABLE or TABLE_SLICE. Make sure order_by comes before any "
    "transformations (such as map) or filters."
)


def _only_within_order(number: Term, doc: str) -> None:
    def form(compiler: Compiler, shape: Shape, path: Frames) -> Node:
        raise CompileError(f"{number.name} may only be used as an argument to ORDER_BY or UNION.", path)

    special_form(number, "by: field name, index name or function", doc=doc)(form)


_only_within_order(Term.ASC, "Within `order_by` and `union`: in ascending order, as without it.")
_only_within_order(Term.DESC, "Within `order_by` and `union`: in descending order.")


class Directed:
    """An argument that may be wrapped in `r.asc` or `r.desc`, compiled. A literal string stands for a field with the
    shortcut "field", for itself without one."""

    def __init__(self, compiler: Compiler, shape: Shape, path: Frames, shortcut: str = "") -> None:
        self.descending = shape[0] == Term.DESC
        if shape[0] in (Term.ASC, Term.DESC):
            check_arity(shape, path, 1, 1)
            compiler.check_optargs((), shape[2], path)
            shape, path = shape[1][0], (*path, 0)
        self.path = path
        self.node = compiler.compile(compiler.as_parameter(shortcut, shape), path)

    def part(self, frame: Frame) -> tuple[Func, bool]:
        """What an Ordering takes."""
        return order_part(self._checked(as_field_function, frame), self.descending)

    def name(self, frame: Frame) -> str:
        """The name of an index."""
        return self._checked(as_string, frame)

    def _checked(self, check: Callable[[Any], T], frame: Frame) -> T:
        value = self.node.run(frame)
        try:
            return check(value)
        except ReqlError as error:
            error.frames = error.frames or self.path
            raise


def order_part(value: Any, descending: bool) -> tuple[Func, bool]:
    """A field's name or a function, as an Ordering takes it."""
    func = as_field_function(value)
    if not func.code.effects.deterministic:
        raise logic_error("Sorting by a non-deterministic function is not supported.")
    return func, descending


def refuse_spliced(shapes: Sequence[Shape], path: Frames) -> None:
    """Raise for `r.args` among what is ordered by: how many there are must be known."""
    if any(shape[0] == Term.ARGS for shape in shapes):
        raise ReqlError(ErrorKind.LOGIC, "r.args is not supported in an order_by or union command yet.", path)


@special_form(
    Term.ORDER_BY,
    "sequence: sequence, *by: field name or function, each within asc or desc or not",
    "index: string, within asc or desc or not",
    grouped="each",
)
def order_by(compiler: Compiler, shape: Shape, path: Frames) -> Node:
    """The sequence in the order of fields or of what functions give, or of an index and within it of those."""
    check_arity(shape, path, 1, None)
    compiler.check_optargs(("index",), shape[2], path)
    refuse_spliced(shape[1], path)
    subject = compiler.compile(shape[1][0], (*path, 0))
    parts = [Directed(compiler, arg, (*path, position), "field") for position, arg in enumerate(shape[1][1:], 1)]
    index = Directed(compiler, shape[2][0][1], (*path, "index")) if shape[2] else None
    effects = subject.effects
    for part in (*parts, *([] if index is None else [index])):
        effects |= part.node.effects

    def ordering(frame: Frame) -> Ordering | None:
        return Ordering([part.part(frame) for part in parts]) if parts else None

    if index is None:
        run = call_closure(_ordered, True, [(subject.run, None), (ordering, None)], [], path)
    else:
        descending = index.descending
        run = call_closure(
            _ordered_by_index,
            True,
            [(subject.run, None), (ordering, None), (index.name, None), (lambda _: descending, None)],
            [],
            path,
        )
    return Node(run, shape, effects, subject.grouped)


def _ordered(runtime: Runtime, value: Any, ordering: Ordering | None) -> Any:
    if isinstance(value, Stream) and value.grouping is not None:
        value = value.to_grouped(runtime)
    if type(value) is Grouped:
        return Grouped([(group, as_datum(_ordered(runtime, member, ordering))) for group, member in value.pairs])
    sequence = as_sequence(value)
    if ordering is None:
        raise logic_error("Must specify something to order by.")
    if type(sequence) is list:
        return ordering.sort(sequence)
    return sequence.sorted_by(ordering, runtime)  # type: ignore[union-attr]


def _ordered_by_index(runtime: Runtime, value: Any, ordering: Ordering | None, name: str, descending: bool) -> Any:
    if type(value) is not TableSlice:
        if as_sequence(value) == []:
            return []
        raise logic_error(NOT_A_TABLE)
    if value.ordering:
        raise logic_error("Cannot perform multiple indexed ORDER_BYs on the same table.")
    if value.index_named not in (None, name):
        raise logic_error(f"Cannot order by index `{name}` after calling BETWEEN on index `{value.index_named}`.")
    index = slice_index(runtime, value.info, name)
    direction = "desc" if descending else "asc"
    piece = TableSlice(value.info, index, name, direction, value.bounds, value.read_mode)
    if ordering is None:
        return piece
    if index is None:  # no two documents have the same primary key
        return table_stream(piece)
    runtime.require_index(piece.info, index)
    return Stream(IndexOrderSource(piece, index, ordering), piece.info)


class IndexOrderSource:
    """The documents of a table in the order of an index, and those of one value in a further order."""

    def __init__(self, piece: TableSlice, index: IndexInfo, ordering: Ordering) -> None:
        self.piece = piece
        self.index = index
        self.ordering = ordering

    @property
    def about(self) -> tuple[Hashable, ...]:
        return self.piece.info.id, self.index.id, self.piece.ordering

    @property
    def inputs(self) -> Sequence[Any]:
        return ()

    def chunks(self, runtime: Runtime, steps: Sequence[Step], limit: int | None, rows: int) -> Iterator[Chunk]:
        wanted = limit if keeps_count(steps) else None
        size = rows if wanted is None else min(rows, wanted)
        source = ComputedSource(lambda runtime: batches(self._rows(runtime, wanted), size))
        return source.chunks(runtime, steps, limit, rows)

    def aggregate(self, runtime: Runtime, steps: Sequence[Step], aggregate: Aggregate) -> Accumulator:
        return ComputedSource(lambda runtime: batches(self._rows(runtime, None))).aggregate(runtime, steps, aggregate)

    def _rows(self, runtime: Runtime, wanted: int | None) -> Iterator[Any]:
        for run in IndexWalk(runtime, self.piece, self.index).runs():
            found = 0
            for rows in self._sorted(runtime, run, wanted):
                yield from rows
                found += len(rows)
            if wanted is not None:
                wanted -= found
                if wanted <= 0:
                    return

    def _sorted(self, runtime: Runtime, run: Iterator[Any], wanted: int | None) -> Iterator[list[Any]]:
        if wanted is not None and wanted <= runtime.array_limit:
            top = TopRows(self.ordering, wanted)
            for rows in batches(run):
                top.feed(rows)
            yield top.result()
            return
        chunks = (Chunk.of_values(rows) for rows in batches(run))
        for chunk in sorted_chunks(runtime, chunks, self.ordering, runtime.sequence_limit, LOCAL_CHUNK_ROWS):
            yield chunk.values()
