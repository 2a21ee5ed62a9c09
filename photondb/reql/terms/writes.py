"""Writing documents: `insert`, `update`, `replace`, `delete`, `sync`, and `for_each`, which adds up what writes did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from photondb.api.catalogue import TableInfo
from photondb.api.storage import Write, WriteSummary
from photondb.datum.errors import DatumError
from photondb.datum.json import dumps
from photondb.datum.keys import primary_key
from photondb.datum.size import check_size
from photondb.datum.text import truncated_print
from photondb.datum.types import normalise_number, type_name
from photondb.reql.effects import Effects
from photondb.reql.errors import ErrorKind, ReqlError, logic_error
from photondb.reql.function import Func
from photondb.reql.parameters import (
    ConstantOrFunction,
    Datum,
    Delayed,
    Durability,
    Runtime,
    Table,
    Value,
    as_string,
    constant_function,
    field_function,
)
from photondb.reql.parameters import (
    Sequence as SequenceArgument,
)
from photondb.reql.registry import term
from photondb.reql.steps import MapStep
from photondb.reql.stream import Stream, elements, table_stream
from photondb.reql.system_tables import is_system
from photondb.reql.values import SingleSelection, TableSlice, as_datum, as_sequence, is_datum, wrong_type
from photondb.reql.wire import Term
from photondb.reql.write_statements import (
    BATCH_ROWS,
    Conflict,
    PointKind,
    WriteOptions,
    insert_write,
    point_write,
    refusals,
    runs_between,
    with_generated_keys,
)
from photondb.reql.write_summary import add_failure, add_summary, has_effect, summary_datum, warn

CONFLICT_WORDS = frozenset({"error", "ignore", "replace", "update"})


@term(Term.INSERT, effects=Effects.WRITES)
def insert(
    runtime: Runtime,
    table: Table,
    documents: Value,
    *,
    conflict: Value = "error",
    durability: Durability = None,
    return_changes: Datum = False,
    return_vals: Datum = ...,
    ignore_write_hook: bool = False,
) -> dict[str, Any]:
    """Add a document, or all documents of a sequence, to a table.

    `conflict` says what happens where there is a document with that key already: it is an error, the document stays and
    the new one is skipped ("ignore", which RethinkDB has not), it is replaced, the new fields are added to it, or a
    function of (name of the primary key, old, new) decides.
    """
    info = table.info
    options = _options(runtime, info, durability, return_changes, return_vals, ignore_write_hook)
    chosen = _conflict(conflict)
    total = WriteSummary()
    generated: list[Any] = []
    for batch in _batches_of_documents(runtime, documents):
        if is_system(info):  # it makes the missing keys itself: it must know which ones were chosen by somebody
            _write(runtime, info, [insert_write(info, batch, chosen, options)], total)
            continue
        check_size(batch)
        complete, keys = with_generated_keys(batch, info.primary_key)
        generated += keys
        _insert_batch(runtime, info, complete, chosen, options, total)
    generated += total.generated_keys or ()
    if generated:
        total.generated_keys = generated[: runtime.array_limit]
        if len(generated) > runtime.array_limit:
            warn(total, f"Too many generated keys ({len(generated)}), array truncated to {runtime.array_limit}.")
    return summary_datum(total)


@term(Term.UPDATE, effects=Effects.WRITES, literals=True)
def update(
    runtime: Runtime,
    selection: Value,
    patch: Delayed,
    *,
    non_atomic: bool = False,
    durability: Durability = None,
    return_changes: Datum = False,
    return_vals: Datum = ...,
    ignore_write_hook: bool = False,
) -> dict[str, Any]:
    """Merge an object, or what a function gives for the old document, into each document of a selection."""
    info = _selected_table(selection)
    options = _options(runtime, info, durability, return_changes, return_vals, ignore_write_hook)
    if not _is_atomic(patch, non_atomic):
        return _change_evaluated(runtime, info, selection, "update", patch, options)
    try:
        function = _as_function(patch.evaluate())
    except ReqlError:
        function = patch  # every document that there is gets the error
    return _change(runtime, info, selection, "update", function, options)


@term(Term.REPLACE, effects=Effects.WRITES)
def replace(
    runtime: Runtime,
    selection: Value,
    replacement: Delayed,
    *,
    non_atomic: bool = False,
    durability: Durability = None,
    return_changes: Datum = False,
    return_vals: Datum = ...,
    ignore_write_hook: bool = False,
) -> dict[str, Any]:
    """Replace each document of a selection by an object, or by what a function gives for the old document."""
    info = _selected_table(selection)
    options = _options(runtime, info, durability, return_changes, return_vals, ignore_write_hook)
    if not _is_atomic(replacement, non_atomic):
        return _change_evaluated(runtime, info, selection, "replace", replacement, options)
    return _change(runtime, info, selection, "replace", _as_function(replacement.evaluate()), options)


@term(Term.DELETE, effects=Effects.WRITES)
def delete(
    runtime: Runtime,
    selection: Value,
    *,
    non_atomic: bool = False,
    durability: Durability = None,
    return_changes: Datum = False,
    return_vals: Datum = ...,
    ignore_write_hook: bool = False,
) -> dict[str, Any]:
    """Delete the documents of a selection."""
    del non_atomic  # it is allowed, and always true
    info = _selected_table(selection)
    options = _options(runtime, info, durability, return_changes, return_vals, ignore_write_hook)
    return _change(runtime, info, selection, "delete", None, options)


@term(Term.SYNC, effects=Effects.WRITES)
def sync(runtime: Runtime, table: Table) -> dict[str, Any]:
    """Return when all writes to the table that were acknowledged are on disk."""
    runtime.sync(table.info)
    return {"synced": 1}


# --- options


def _options(
    runtime: Runtime, info: TableInfo, durability: Any, return_changes: Any, return_vals: Any, ignore_write_hook: bool
) -> WriteOptions:
    if return_vals is not ...:
        raise logic_error("Error: encountered obsolete optarg `return_vals`.  Use `return_changes` instead.")
    if type(return_changes) is str and return_changes != "always":
        raise logic_error(
            f"Invalid return_changes value `{return_changes}` (options are `true`, `false`, and `'always'`.)"
        )
    if type(return_changes) is not str:
        return_changes = return_changes is not None and return_changes is not False
    if ignore_write_hook:
        runtime.require("config", info.database, info)
    return WriteOptions(durability, return_changes, ignore_write_hook)


def _conflict(value: Any) -> Conflict:
    if type(value) is Func:
        if not value.code.effects.deterministic:
            raise logic_error("The conflict function passed to `insert` must be deterministic.")
        if value.arity not in (0, 3):
            raise logic_error("The conflict function passed to `insert` should expect 3 arguments.")
        return value
    word = as_string(value)
    if word not in CONFLICT_WORDS:  # RethinkDB's text, for programs that look for it
        raise logic_error(f'Conflict option `{word}` unrecognized (options are "error", "replace" and "update").')
    return word  # type: ignore[return-value]


def _is_atomic(function: Func, non_atomic: bool) -> bool:
    """Whether storage can evaluate a function itself; raises where it cannot and that has not been allowed."""
    if function.code.effects.deterministic:
        return True
    if non_atomic:
        return False
    raise logic_error("Could not prove argument deterministic.  Maybe you want to use the non_atomic flag?")


def _as_function(value: Any) -> Func:
    if type(value) is Func:
        return value
    if not is_datum(value) and type(value) is not SingleSelection:
        raise wrong_type("FUNCTION", value)
    return constant_function(as_datum(value))


# --- what is written


def _batches_of_documents(runtime: Runtime, documents: Any) -> Iterator[list[Any]]:
    if type(documents) is SingleSelection:
        documents = documents.row
    if type(documents) is dict:
        yield [documents]
        return
    sequence = as_sequence(documents)
    if isinstance(sequence, list):
        for start in range(0, len(sequence), BATCH_ROWS):
            yield sequence[start : start + BATCH_ROWS]
    else:
        for chunk in sequence.chunks(runtime, None, BATCH_ROWS):
            yield chunk.values()


def _insert_batch(
    runtime: Runtime,
    info: TableInfo,
    documents: list[Any],
    conflict: Conflict,
    options: WriteOptions,
    total: WriteSummary,
) -> None:
    refused = refusals(documents, info.primary_key)
    for refusal in refused.values():
        if refusal.early and total.first_error is None:
            total.first_error = refusal.message
    for position, run in runs_between(documents, refused):
        if run:
            _write(runtime, info, [insert_write(info, run, conflict, options)], total)
        else:
            message, early = refused[position]
            shown = "always" if early and options.return_changes else options.return_changes
            add_failure(total, message, None, shown)


def _selected_table(selection: Any) -> TableInfo:
    if type(selection) is SingleSelection or type(selection) is TableSlice:
        return selection.info
    if isinstance(selection, Stream) and selection.table is not None:
        return selection.table
    raise wrong_type("SELECTION", selection)


def _change(
    runtime: Runtime, info: TableInfo, selection: Any, kind: PointKind, function: Func | None, options: WriteOptions
) -> dict[str, Any]:
    """Change the documents of a selection, in batches; storage evaluates the function."""
    total = WriteSummary()
    if type(selection) is SingleSelection:
        _write(runtime, info, [point_write(info, kind, (primary_key(selection.key),), function, options)], total)
        return summary_datum(total)
    rows = table_stream(selection) if type(selection) is TableSlice else selection
    keys = rows.with_step(MapStep(field_function(info.primary_key)))
    for chunk in keys.chunks(runtime, None, BATCH_ROWS):
        batch = list(map(primary_key, chunk.values()))
        _write(runtime, info, [point_write(info, kind, batch, function, options)], total)
    return summary_datum(total)


def _change_evaluated(
    runtime: Runtime, info: TableInfo, selection: Any, kind: PointKind, function: Func, options: WriteOptions
) -> dict[str, Any]:
    """Change the documents of a selection by a function that may give something else each time, or that reads tables:
    it is evaluated here, and storage is told what came of it."""
    total = WriteSummary()
    for batch in _batches_of_rows(runtime, selection):
        writes: list[Write] = []
        for key, row in batch:
            try:
                result = constant_function(_result(function, row, kind))
            except (ReqlError, DatumError) as error:
                _write(runtime, info, writes, total)
                writes = []
                add_failure(total, error.message, dumps(row), options.return_changes)
            else:
                writes.append(point_write(info, kind, (primary_key(key),), result, options))
        _write(runtime, info, writes, total)
    return summary_datum(total)


def _batches_of_rows(runtime: Runtime, selection: Any) -> Iterator[list[tuple[Any, Any]]]:
    """(primary key, document) pairs."""
    if type(selection) is SingleSelection:
        yield [(selection.key, selection.row)]
        return
    rows = table_stream(selection) if type(selection) is TableSlice else selection
    name = _selected_table(selection).primary_key
    for chunk in rows.chunks(runtime, None, BATCH_ROWS):
        yield [(row[name], row) for row in chunk.values()]


def _result(function: Func, row: Any, kind: PointKind) -> Any:
    if row is None and kind == "update":
        return None  # there is nothing to update, and storage will say so
    value = function.evaluate()
    return value.call(row) if type(value) is Func else as_datum(value)


def _write(runtime: Runtime, info: TableInfo, writes: Sequence[Write], total: WriteSummary) -> None:
    """Carry statements out and add what they did to `total`."""
    if not writes:
        return
    try:
        for summary in runtime.write(writes, info):
            add_summary(total, summary, runtime.array_limit)
    except ReqlError as error:
        if error.kind == ErrorKind.OP_FAILED and has_effect(total) and not runtime.context.transaction:
            error.kind = ErrorKind.OP_INDETERMINATE  # an earlier batch has been written
        raise


# --- for_each

FOR_EACH_ERROR = "FOR_EACH expects one or more basic write queries."


@term(Term.FOR_EACH)
def for_each(runtime: Runtime, sequence: SequenceArgument, function: ConstantOrFunction) -> dict[str, Any]:
    """Evaluate a write, or an array of writes, for each element of a sequence, and add up what they did."""
    total: dict[str, Any] = {}
    warnings: set[str] = set()
    for row in elements(runtime, sequence):
        runtime.checkpoint()
        value = function.evaluate(row)
        for result in _write_results(value):
            _merge_results(total, result, runtime.array_limit, warnings)
    if warnings:
        total["warnings"] = [*total.get("warnings", ()), *sorted(warnings.difference(total.get("warnings", ())))]
    return total


def _write_results(value: Any) -> Iterable[Any]:
    try:
        value = as_datum(value)
    except ReqlError as error:
        raise ReqlError(error.kind, FOR_EACH_ERROR) from None
    results = value if type(value) is list else [value]
    for result in results:
        if type(result) is not dict or "$reql_type$" in result:
            expected = "OBJECT" if type(value) is list else "ARRAY"
            kind = ErrorKind.NON_EXISTENCE if result is None else ErrorKind.LOGIC
            raise ReqlError(kind, f"{FOR_EACH_ERROR}  Expected type {expected} but found {type_name(result)}.")
    return results


def _merge_results(total: dict[str, Any], result: dict[str, Any], limit: int, warnings: set[str]) -> None:
    """Add a result to what there is: numbers are added, arrays joined, of texts the first one is kept."""
    for name, value in result.items():
        if name not in total:
            total[name] = value
            continue
        old = total[name]
        kinds = type(old), type(value)
        if set(kinds) <= _NUMBERS:
            total[name] = normalise_number(old + value)
        elif kinds == (list, list):
            if len(old) + len(value) > limit:
                warnings.add(f"Too many changes, array truncated to {limit}.")
            total[name] = [*old, *value][:limit]
        elif kinds != (str, str):
            raise logic_error(
                f"{FOR_EACH_ERROR}  Cannot merge statistics `{truncated_print(old)}` (type {type_name(old)}) and "
                f"`{truncated_print(value)}` (type {type_name(value)})."
            )


_NUMBERS = {int, float}
