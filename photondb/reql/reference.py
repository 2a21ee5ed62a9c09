"""The reference of the language, docs/reql.md, written from the registry of terms.

python -m photondb.reql.reference    prints it; `make docs` puts it where it belongs
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from types import ModuleType

from photondb.reql import terms as families
from photondb.reql.effects import Effects
from photondb.reql.registry import SPECIAL_FORMS, TERMS, Definition, SpecialForm
from photondb.reql.wire import Term

INTRODUCTION = """\
# ReQL, term by term

This page is written by `make docs` from the registry of terms; what it says is what the compiler goes by.

A term is written on the wire as `[number, [arguments], {optional arguments}]`. Drivers have a method for each, of which
the first argument is what the method is called on: `r.table("t").get(1)` is `[16, [[15, ["t"]], 1]]`.

- **Arguments**: what each has to be. `[in brackets]` it may be left out, `*name` is any number of arguments. Where a
  function is asked for, a *field name* or a *datum* may stand in for it, as said. `r.args` spreads an array out as
  arguments.
- **Optional arguments** go by name. All of them may be given as run options, too, and then hold for the whole query.
- **Sequences**: a term on objects that is given a sequence of objects is mapped over it, or keeps the objects for which
  it is true (*filter*), or is mapped over those for which it has a value (*where there is one*).
- **Grouped data** as the first argument: the term is applied to *each group*, takes the grouped data *as a whole*, or
  makes groups (*divides*). Where nothing is said, it is an error.
- **Effects**: *reads* or *writes* tables or their configuration; *varies*, so that two calls may give two values; is
  *endless*, so that it may go on until the query's time limit; depends on *now*; is *rounded*, so that another machine
  might give another last digit. What has no effects, or depends on now, can be evaluated next to the data, and may
  stand in atomic updates and, without now, in indexes.
"""

SYNTAX: dict[Term, tuple[str, str, str]] = {
    Term.DATUM: ("value", "", "A value as it is, which mostly is written without this around it."),
    Term.MAKE_OBJ: ("", "*fields: datum", "An object, which mostly is written as such."),
    Term.VAR: ("number: literal integer", "", "The value of a function's parameter of that number."),
    Term.IMPLICIT_VAR: ("", "", "`r.row`: the parameter of the one function around it."),
    Term.FUNC: ("parameters: literal array of integers, body: any", "", "A function."),
}
"""What is no term of a family: (arguments, optional arguments, meaning)."""

_HEADER = (
    "| number | term | arguments | optional arguments | meaning | sequences | grouped data | effects |\n"
    "| ---: | --- | --- | --- | --- | --- | --- | --- |"
)
_SEQUENCES = {"": "", "map": "mapped", "filter": "filter", "skip_map": "where there is one"}
_GROUPED = {"each": "each group", "stream": "each group", "starts": "divides", "whole": "as a whole", "never": ""}
_EFFECTS = {
    Effects.NOW: "now",
    Effects.NONDETERMINISTIC: "varies",
    Effects.READS: "reads",
    Effects.WRITES: "writes",
    Effects.ENDLESS: "endless",
    Effects.ROUNDED: "rounded",
}


def reference() -> str:
    """The whole page."""
    parts = [INTRODUCTION, *_families(), _syntax()]
    return "\n".join(parts)


def _families() -> Iterator[str]:
    by_module: dict[str, list[str]] = {}
    for number in sorted({*TERMS, *SPECIAL_FORMS}):
        module_name, row = _row(number)
        by_module.setdefault(module_name, []).append(row)
    for name, module in sorted(_modules().items(), key=lambda item: _title(item[1])):
        rows = by_module.pop(module.__name__, [])
        if rows:
            title, _, rest = _title(module).partition(": ")
            introduction = f"{rest[:1].upper()}{rest[1:]}\n\n" if rest else ""
            yield f"## {title.rstrip('.')}\n\n{introduction}`photondb/reql/terms/{name}.py`\n\n" + _table(rows)
    assert not by_module, f"terms outside of the families: {sorted(by_module)}"


def _modules() -> dict[str, ModuleType]:
    found = inspect.getmembers(families, inspect.ismodule)
    return {name: module for name, module in found if module.__name__.startswith(families.__name__)}


def _title(module: ModuleType) -> str:
    return (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ")


def _row(number: int) -> tuple[str, str]:
    """The module that a term is defined in, and its row."""
    form = SPECIAL_FORMS.get(number)
    return _row_of_term(TERMS[number]) if form is None else _row_of_form(form)


def _row_of_term(definition: Definition) -> tuple[str, str]:
    effects = definition.effects
    if not isinstance(effects, Effects):  # it depends on the number of arguments
        effects = effects(0) | effects(1) | effects(2) | effects(3)
    parameters = definition.parameters_text
    if definition.implied_database:
        first, _, others = parameters.partition(", ")
        parameters = f"[{first}], {others}".removesuffix(", ")
    row = _cells(
        definition.number,
        parameters,
        definition.optargs_text,
        definition.doc,
        _SEQUENCES[definition.over_sequences],
        _GROUPED[definition.grouped] if definition.parameters or definition.rest else "",
        effects,
    )
    return definition.function.__module__, row


def _row_of_form(form: SpecialForm) -> tuple[str, str]:
    row = _cells(form.number, form.parameters, form.optargs, form.doc, "", _GROUPED[form.grouped], form.effects)
    return form.compile.__module__, row


def _syntax() -> str:
    rows = [
        _cells(number, arguments, optargs, meaning, "", "", Effects.NONE)
        for number, (arguments, optargs, meaning) in sorted(SYNTAX.items())
    ]
    return "## Syntax\n\nWhat is no call of a function. Objects, strings, numbers, true, false and null stand for " + (
        "themselves.\n\n" + _table(rows)
    )


def _table(rows: list[str]) -> str:
    return "\n".join([_HEADER, *rows, ""])


def _cells(number: Term, arguments: str, optargs: str, doc: str, sequences: str, grouped: str, effects: Effects) -> str:
    shown = [_EFFECTS[effect] for effect in _EFFECTS if effects & effect]
    cells = [
        str(int(number)),
        f"`{number.name.lower()}`",
        _code(arguments),
        _code(optargs),
        _first_sentence(doc),
        sequences,
        grouped,
        ", ".join(shown),
    ]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _first_sentence(doc: str) -> str:
    text = doc.replace("\n", " ")
    end = text.find(". ")
    return text if end < 0 else text[: end + 1]


if __name__ == "__main__":
    sys.stdout.write(reference())
