"""The steps of a pipeline: what happens to rows between a table and where they are counted, sorted or sent.

A step takes a list of rows and gives a list of rows. Steps are what is pushed down to storage, so each can be written
to the wire and read from it. The function of a step is called for every row: the loops below are the hot ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from photondb.datum.merge import merge
from photondb.datum.size import check_size
from photondb.datum.types import REQL_TYPE, truthy, type_name
from photondb.reql.errors import EmptyUserError, ErrorKind, ReqlError, logic_error, non_existence_error
from photondb.reql.function import Func
from photondb.reql.shape import OBJECT
from photondb.reql.values import PLAIN_TYPES, as_datum, wrong_datum

Fields = frozenset[str]

_SCALARS = frozenset({str, int, float, bool, type(None)})


class FilterStep:
    """Keep the rows for which the function gives a true value.

    A row for which it raises a non-existence error is kept or not as `default` says: False (not), True, or a function
    without arguments that may raise (`default=r.error()`). `hint` is the index that the query wants the rows to be
    found by, False for none.
    """

    __slots__ = ("default", "func", "hint")

    replaces_rows = False

    def __init__(self, func: Func, default: Func | bool = False, hint: str | bool | None = None) -> None:
        self.func = func
        self.default = default
        self.hint = hint

    @property
    def fields(self) -> Fields | None:
        """The fields of a row that the step needs to see."""
        fields = self.func.fields
        if fields is None or not self.func.code.object_body:
            return fields
        body = self.func.code.shape[2]
        if body[0] == OBJECT:
            pattern = frozenset(key for key, _ in body[1])
        else:  # a constant
            value = self.func.body(self.func.frame)
            pattern = frozenset(value) if type(value) is dict else frozenset()
        return None if "$reql_type$" in pattern else fields | pattern

    @property
    def pushable(self) -> bool:
        return self.func.pushable and (isinstance(self.default, bool) or self.default.pushable)

    def apply(self, rows: Sequence[Any]) -> list[Any]:
        keep = self.selector()
        return [row for row in rows if keep(row)]

    def select(self, raws: Sequence[bytes], rows: Sequence[Any]) -> tuple[list[bytes], list[Any]]:
        """The rows to keep, as they were read and as values."""
        keep = self.selector()
        pairs = [(raw, row) for raw, row in zip(raws, rows, strict=True) if keep(row)]
        return [raw for raw, _ in pairs], [row for _, row in pairs]

    def selector(self) -> Callable[[Any], bool]:
        """A function that says whether to keep a row."""
        func = self.func
        if func.code.object_body and not func.slots and func.pushable:
            return self._matcher()
        if len(func.slots) != 1 or func.code.object_body:
            return self._keeps_slowly
        body, frame, slot = func.body, func.frame, func.slots[0]

        def keeps(row: Any) -> bool:
            frame[slot] = row
            try:
                value = body(frame)
            except ReqlError as error:
                return self._missing(error)
            if value is True:
                return True
            if value is False:
                return False
            return self._truth(value)

        return keeps

    def _matcher(self) -> Callable[[Any], bool]:
        """The selector for a pattern that is the same for all rows; a loop where its values are plain."""
        pattern = self.func.call()
        if type(pattern) is not dict or not all(type(value) in _SCALARS for value in pattern.values()):
            return self._keeps_slowly
        wanted = [(key, value, type(value) is bool) for key, value in pattern.items()]

        def keeps(row: Any) -> bool:
            try:
                for key, value, is_bool in wanted:
                    found = row[key]
                    if found != value or (type(found) is bool) is not is_bool:
                        return False
            except (KeyError, TypeError):
                return self._keeps_slowly(row)  # which knows what to do about rows without the field
            return True

        return keeps

    def _keeps_slowly(self, row: Any) -> bool:
        try:
            value = self.func.call(row)
            if type(value) is dict and self.func.code.object_body:
                return matches(value, row)
        except ReqlError as error:
            return self._missing(error)
        return self._truth(value)

    def _truth(self, value: Any) -> bool:
        if type(value) not in PLAIN_TYPES:
            value = as_datum(value)
        return truthy(value)

    def _missing(self, error: ReqlError) -> bool:
        if error.kind != ErrorKind.NON_EXISTENCE:
            raise error
        if isinstance(self.default, bool):
            return self.default
        try:
            value = self.default.call()
        except EmptyUserError:
            raise error from None
        return value is not False and value is not None

    def to_wire(self) -> dict[str, Any]:
        default = self.default if isinstance(self.default, bool) else self.default.to_wire()
        return {"filter": self.func.to_wire(), "default": default}


def matches(pattern: Any, value: Any) -> bool:
    """Whether an object has the fields of a pattern with equal values; raises non-existence for a missing field."""
    from photondb.datum.order import equal

    if pattern.get("$reql_type$") == "LITERAL":
        return equal(pattern.get("value"), value)
    if type(value) is not dict:
        raise logic_error(f"Expected type OBJECT but found {type_name(value)}.")
    for key, wanted in pattern.items():
        if key not in value:
            raise non_existence_error(f"No attribute `{key}` in object.")
        found = value[key]
        if type(wanted) is dict and type(found) is dict and type_name(found) == "OBJECT":
            check_size(wanted)
            if not matches(wanted, found):
                return False
        elif not equal(wanted, found):
            return False
    return True


MISSING: Any = object()
"""Stands for a value that a row does not have."""


_FIELDS_OF_PSEUDO_TYPES = frozenset({REQL_TYPE, "epoch_time", "timezone", "data", "type", "coordinates", "crs"})
"""What times, binaries and shapes have as fields, which no query can take of them."""


def plain_fields(func: Func, rows: Sequence[Any]) -> list[Any] | None:
    """What the function gives for each row where it does nothing but take a field of it. None where it does more, or
    some row is no object with that field: then the function itself decides about each."""
    field = func.code.simple_field
    if field is None:
        return None
    try:
        values = [row[field] for row in rows]
        if field in _FIELDS_OF_PSEUDO_TYPES and any(REQL_TYPE in row for row in rows):
            return None
    except (KeyError, TypeError):
        return None
    return values


def values_or_missing(func: Func, rows: Sequence[Any]) -> list[Any]:
    """What the function gives for each row; MISSING where it raises a non-existence error."""
    fields = plain_fields(func, rows)
    if fields is not None:
        return fields
    if len(func.slots) != 1:
        func.check_arity(1)
    body, frame = func.body, func.frame
    slot = func.slots[0] if func.slots else 0
    values = []
    for row in rows:
        if slot:
            frame[slot] = row
        try:
            value = body(frame)
            if type(value) not in PLAIN_TYPES:
                value = as_datum(value)
        except ReqlError as error:
            if error.kind != ErrorKind.NON_EXISTENCE:
                raise
            value = MISSING
        values.append(value)
    return values


def present_values(func: Func, rows: Sequence[Any]) -> list[Any]:
    """What the function gives for the rows for which it gives a value."""
    fields = plain_fields(func, rows)
    if fields is not None:
        return fields
    return [value for value in values_or_missing(func, rows) if value is not MISSING]


class MapStep:
    """Replace each row by what the function gives for it. `skip_missing` leaves out rows for which it raises a
    non-existence error, as `get_field` on a sequence does."""

    __slots__ = ("func", "skip_missing")

    replaces_rows = True

    def __init__(self, func: Func, skip_missing: bool = False) -> None:
        self.func = func
        self.skip_missing = skip_missing

    @property
    def fields(self) -> Fields | None:
        """The fields of a row that the step needs to see."""
        return self.func.fields

    @property
    def pushable(self) -> bool:
        return self.func.pushable

    def apply(self, rows: Sequence[Any]) -> list[Any]:
        func = self.func
        if self.skip_missing:
            return present_values(func, rows)
        fields = plain_fields(func, rows)
        if fields is not None:
            return fields
        if len(func.slots) != 1:
            return [func.call(row) for row in rows]
        body, frame, slot = func.body, func.frame, func.slots[0]
        out = []
        for row in rows:
            frame[slot] = row
            value = body(frame)
            if type(value) not in PLAIN_TYPES:
                value = as_datum(value)
            out.append(value)
        return out

    def to_wire(self) -> dict[str, Any]:
        return {"map": self.func.to_wire(), "skip_missing": self.skip_missing}


class ConcatMapStep:
    """Replace each row by the elements of the array that the function gives for it."""

    __slots__ = ("func",)

    replaces_rows = True

    def __init__(self, func: Func) -> None:
        self.func = func

    @property
    def fields(self) -> Fields | None:
        """The fields of a row that the step needs to see."""
        return self.func.fields

    @property
    def pushable(self) -> bool:
        return self.func.pushable

    def apply(self, rows: Sequence[Any]) -> list[Any]:
        from photondb.reql.stream import elements

        out: list[Any] = []
        for row in rows:
            out.extend(elements(self.func.frame[0], self.func.evaluate(row)))
        return out

    def to_wire(self) -> dict[str, Any]:
        return {"concat_map": self.func.to_wire()}


class ZipStep:
    """Merge the two sides of each row of a join."""

    __slots__ = ()

    replaces_rows = True
    fields: Fields | None = frozenset({"left", "right"})
    pushable = True

    def apply(self, rows: Sequence[Any]) -> list[Any]:
        return list(map(_zipped, rows))

    def to_wire(self) -> dict[str, Any]:
        return {"zip": True}


def _zipped(row: Any) -> Any:
    if type(row) is not dict:
        raise wrong_datum("OBJECT", row)
    if "left" not in row:
        raise logic_error("ZIP can only be called on the result of a join.")
    return merge(row["left"], row["right"]) if "right" in row else row["left"]


class LocalStep:
    """A step that only the evaluator of the whole query can do, because it needs the query's runtime."""

    __slots__ = ("function",)

    replaces_rows = True
    fields: Fields | None = None
    pushable = False

    def __init__(self, function: Callable[[Sequence[Any]], list[Any]]) -> None:
        self.function = function

    def apply(self, rows: Sequence[Any]) -> list[Any]:
        return self.function(rows)

    def to_wire(self) -> dict[str, Any]:
        raise TypeError("a local step stays where it is")


Step = FilterStep | MapStep | ConcatMapStep | ZipStep | LocalStep


def keeps_count(steps: Sequence[Step]) -> bool:
    """Whether as many rows leave the steps as enter them."""
    return all(type(step) is MapStep and not step.skip_missing for step in steps)


def apply_keyed(step: Step, values: list[Any], keys: Sequence[bytes]) -> tuple[list[Any], Sequence[bytes]]:
    """What a step makes of some rows, and the keys of the rows that it made them of."""
    if isinstance(step, FilterStep):
        kept, values = step.select(keys, values)
        return values, kept
    if type(step) is ZipStep or (type(step) is MapStep and not step.skip_missing):
        return step.apply(values), keys
    made: list[Any] = []
    keys_of_made: list[bytes] = []
    for key, value in zip(keys, values, strict=True):
        of_one = step.apply((value,))
        made += of_one
        keys_of_made += [key] * len(of_one)
    return made, keys_of_made


def steps_to_wire(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The steps as JSON values."""
    return [step.to_wire() for step in steps]


def steps_from_wire(wire: list[dict[str, Any]]) -> list[Step]:
    """The steps that `steps_to_wire` wrote."""
    from photondb.reql.geo_steps import IntersectingStep, NearbyStep

    steps: list[Step] = []
    for entry in wire:
        if "filter" in entry:
            default = entry["default"]
            steps.append(
                FilterStep(
                    Func.from_wire(entry["filter"]), default if isinstance(default, bool) else Func.from_wire(default)
                )
            )
        elif "map" in entry:
            steps.append(MapStep(Func.from_wire(entry["map"]), entry["skip_missing"]))
        elif "concat_map" in entry:
            steps.append(ConcatMapStep(Func.from_wire(entry["concat_map"])))
        elif "zip" in entry:
            steps.append(ZipStep())
        elif "intersecting" in entry:
            steps.append(IntersectingStep.from_wire(entry))
        elif "nearby" in entry:
            steps.append(NearbyStep.from_wire(entry))
        else:
            raise logic_error(f"Unknown pipeline step: {sorted(entry)}.")
    return steps
