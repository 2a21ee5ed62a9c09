"""Functions as JavaScript, the way RethinkDB shows the functions of indexes and write hooks.

A term is first turned into a document: text, places where a line may be broken, and nested documents. Then it is laid
out (after D. C. Oppen, "Prettyprinting", 1980): a nested document that fits into the rest of its line stays on it, of
one that does not every break becomes a new line, indented to where the nested document began.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from photondb.reql.wire import Term

WIDTH = 80
QUERY_WIDTH = 89
MAX_DEPTH = 15
"""What is nested more deeply is left out."""


class Break:
    """A place where a line may be broken: `flat` stands there if it is not, `start` on the new line if it is."""

    __slots__ = ("flat", "start")

    def __init__(self, flat: str, start: str = "") -> None:
        self.flat = flat
        self.start = start


class Nest:
    """A nested document."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Part) -> None:
        self.parts = parts


Part = str | Break | Nest
Parts = list[Part]

SPACE = Break(" ")
DOT = Break(".", ".")
LINE = Break("\n")


def function_text(term: list[Any]) -> str:
    """A FUNC term as JavaScript."""
    (_, names), body = term[1]
    return f"function({', '.join(map(variable_name, names))}) {{ return {lay_out(_Printer().value(body, False))}; }}"


def query_text(term: Any) -> str:
    """A whole query as JavaScript."""
    return lay_out(_Printer().value(term, False), QUERY_WIDTH)


def variable_name(number: int) -> str:
    """How a variable is shown; drivers count from 1, a server's own variables have negative numbers."""
    return f"_var{-number}" if number < 0 else f"var{number}"


# --- layout


def lay_out(parts: Iterable[Part], width: int = WIDTH) -> str:
    """The text of a document."""
    return _Layout(width).text(list(parts))


class _Layout:
    """Lays a document out. `column` is where the text has got to."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.out: list[str] = []
        self.column = 0

    def text(self, parts: Parts) -> str:
        self._write(parts, 0, breaking=True)
        return "".join(self.out)

    def _write(self, parts: Iterable[Part], indent: int, breaking: bool) -> None:
        for part in parts:
            if type(part) is Nest:
                fits = not breaking or self.column + _flat_width(part.parts) <= self.width
                self._write(part.parts, self.column, not fits)
            elif type(part) is Break:
                if breaking:
                    self.out.append("\n" + " " * indent + part.start)
                    self.column = indent + len(part.start)
                else:
                    self._put(part.flat)
            else:
                self._put(str(part))

    def _put(self, text: str) -> None:
        self.out.append(text)
        self.column += len(text)


def _flat_width(parts: Iterable[Part]) -> int:
    width = 0
    for part in parts:
        if type(part) is Nest:
            width += _flat_width(part.parts)
        else:
            width += len(part.flat) if type(part) is Break else len(str(part))
    return width


# --- from terms to documents

_CONSTANTS = frozenset(
    {Term.MINVAL, Term.MAXVAL, *range(Term.MONDAY, Term.SUNDAY + 1), *range(Term.JANUARY, Term.DECEMBER + 1)}
)
"""Terms that JavaScript shows as properties: `r.monday`."""

_PREFIXED = _CONSTANTS | {
    *(Term.ERROR, Term.UUID, Term.HTTP, Term.DB, Term.OBJECT, Term.RANGE, Term.DB_CREATE, Term.DB_DROP, Term.DB_LIST),
    *(Term.EQ, Term.NE, Term.LT, Term.LE, Term.GT, Term.GE, Term.NOT, Term.AND, Term.OR, Term.BRANCH),
    *(Term.ADD, Term.SUB, Term.MUL, Term.DIV, Term.MOD),
    *(Term.BIT_AND, Term.BIT_OR, Term.BIT_XOR, Term.BIT_NOT, Term.BIT_SAL, Term.BIT_SAR),
    *(Term.JSON, Term.ISO8601, Term.EPOCH_TIME, Term.NOW, Term.TIME, Term.LITERAL, Term.RANDOM, Term.JAVASCRIPT),
    *(Term.GEOJSON, Term.POINT, Term.LINE, Term.POLYGON, Term.CIRCLE, Term.ARGS, Term.ASC, Term.DESC),
}
"""Terms that are shown as functions of `r`; all others as methods of their first argument."""


class _Printer:
    """Turns terms into documents. `quoted` says that JavaScript's own literals are enough where a value stands, because
    it is the argument of a method; elsewhere they are wrapped in `r.expr`."""

    def __init__(self) -> None:
        self.depth = 0

    def value(self, term: Any, quoted: bool) -> Parts:
        """The document of a term."""
        self.depth += 1
        try:
            if self.depth > MAX_DEPTH:
                return ["..."]
            if _is_plain(term):
                return self._plain(term, quoted)
            bare = self._bare(term, quoted)
            return ["r", Nest(".", *bare)] if _stands_behind_r(term) else bare
        finally:
            self.depth -= 1

    def _plain(self, term: Any, quoted: bool) -> Parts:
        """What is a value, a variable or a function: it has no place behind `r.`, or gets one by `r.expr`."""
        if type(term) is list and term[0] == Term.VAR:
            return [variable_name(term[1][0])]
        if type(term) is list and term[0] == Term.FUNC:
            return [self._function(term)]
        if type(term) is dict and term.get("$reql_type$") != "BINARY":
            if quoted:
                return ["{", Nest(*self._fields(term.items())), "}"]
            pairs: list[Parts] = []
            for name, value in term.items():
                pairs += [[_quote(name)], self.value(value, True)]
            return ["r", Nest(".", "object", "(", Nest(*_separated(pairs)), ")")]
        if type(term) is list:
            shown: Parts = ["[", Nest(*_separated([self.value(item, True) for item in _arguments(term)])), "]"]
        else:
            shown = [_literal(term)]
        return shown if quoted else ["r", Nest(".", "expr", "(", Nest(*shown), ")")]

    def _bare(self, term: list[Any], quoted: bool) -> Parts:
        """A term without the `r.` before it."""
        number, arguments = term[0], _arguments(term)
        if number == Term.IMPLICIT_VAR:
            return ["row"]
        if number in _CONSTANTS and not arguments:
            return [_name(number)]
        if _is_method(term):
            return self._methods(term, quoted)
        if number == Term.FUNCALL:
            function, *values = arguments
            shown = [self.value(value, True) for value in values] + [self.value(function, quoted)]
        else:
            shown = [self.value(argument, True) for argument in arguments]
        return [_name(number), "(", Nest(*_separated(shown + self._options(term))), ")"]

    def _methods(self, term: list[Any], quoted: bool) -> Parts:
        """A chain of methods: `r.table("t").get(1)`, `var1("a")("b")`."""
        links: list[Parts] = []
        subject: Any = term
        while type(subject) is list and _is_method(subject):
            number, arguments = subject[0], _arguments(subject)
            if number == Term.FUNCALL:
                links.append([DOT, "do", "(", Nest(*self.value(arguments[0], True)), ")"])
                subject = arguments[1]
                continue
            shown = [self.value(argument, True) for argument in arguments[1:]] + self._options(subject)
            head: Parts = [] if number == Term.BRACKET else [DOT, _name(number)]
            links.append([*head, "(", Nest(*_separated(shown)), ")"])
            subject = arguments[0]
        links.reverse()
        if links[0][0] is DOT:
            links[0][0] = "."  # the first method stays on the line of what it is a method of
        chain = [part for link in links for part in link]
        if _is_plain(subject):
            return [Nest(*self.value(subject, quoted), *chain)]
        return [*self._bare(subject, quoted), *chain]

    def _options(self, term: list[Any]) -> list[Parts]:
        options = term[2] if len(term) > 2 else None
        if not options:
            return []
        return [["{", Nest(*self._fields((_camel(name), value) for name, value in options.items())), "}"]]

    def _fields(self, fields: Iterable[tuple[str, Any]]) -> Parts:
        return _separated([[Nest(f"{_quote(name)}:", SPACE, *self.value(value, True))] for name, value in fields])

    def _function(self, term: list[Any]) -> Nest:
        (_, names), body = term[1]
        parameters = ", ".join(map(variable_name, names))
        shown = self.value(body, False)
        return Nest("func", Nest(f"tion ({parameters}) {{", LINE, "return ", Nest(*shown), ";"), LINE, "}")


def _is_plain(term: Any) -> bool:
    return type(term) is not list or term[0] in (Term.VAR, Term.FUNC, Term.MAKE_ARRAY, Term.DATUM)


def _is_method(term: list[Any]) -> bool:
    if _is_plain(term) or term[0] in _PREFIXED or not _arguments(term):
        return False
    if term[0] in (Term.TABLE, Term.FUNCALL):
        return len(_arguments(term)) == 2
    return True


def _stands_behind_r(term: list[Any]) -> bool:
    """Whether a term is written as a property of `r`: it, or what its chain of methods begins with, is no value."""
    while _is_method(term):
        term = _arguments(term)[1 if term[0] == Term.FUNCALL else 0]
        if _is_plain(term):
            return False
    return True


def _arguments(term: list[Any]) -> list[Any]:
    return term[1] if len(term) > 1 and type(term[1]) is list else []


def _separated(items: list[Parts]) -> Parts:
    parts: Parts = []
    for item in items:
        if parts:
            parts += [",", SPACE]
        parts += item
    return parts


def _literal(value: Any) -> str:
    if type(value) is list:  # a DATUM term
        value = value[1]
    if type(value) is dict:
        return f"Buffer({_quote(value['data'])}, 'base64')"
    if type(value) is str:
        return _quote(value)
    if type(value) is float:
        return f"{value:f}"
    return str(orjson.dumps(value).decode())


def _quote(text: str) -> str:
    return orjson.dumps(text).decode()


def _name(number: int) -> str:
    return "js" if number == Term.JAVASCRIPT else "do" if number == Term.FUNCALL else _camel(Term(number).name.lower())


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
