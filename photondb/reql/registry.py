"""The table of terms. A term is a typed, documented function; its signature gives arity, checks and optional arguments.

    @term(Term.UPCASE)
    def upcase(text: str) -> str:
        \"\"\"Return `text` in upper case.\"\"\"
        return text.upper()

Positional parameters are arguments (with a default: optional ones), `*rest` takes any number more, keyword-only
parameters are optional arguments. A first parameter annotated `Runtime` is given the running query. What must decide
for itself when its arguments are evaluated (`branch`, `default`) is a special form: it gets their shapes.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from photondb.reql.callsite import Run
from photondb.reql.effects import Effects
from photondb.reql.parameters import KIND_OF_TYPE, Kind
from photondb.reql.runtime import Runtime
from photondb.reql.shape import Shape
from photondb.reql.wire import Term

if TYPE_CHECKING:
    from photondb.reql.compiler import Compiler, Node
    from photondb.reql.errors import Frames

    CompileForm = Callable[[Compiler, Shape, Frames], Node]

FastPath = Callable[[Shape, list[Run], Callable[..., Any]], Run | None]
"""Makes a closure of its own for a call in a common form, from the call's shape, the closures of its arguments and the
general call, which takes a frame and evaluated arguments (of a term over sequences, the first one only); None for a
call in another form."""

Grouped = Literal["each", "stream", "starts", "whole"]
"""What a term does with grouped data as its first argument: it is applied to each group; the same, but a grouped
stream is handed to it as such; so too, and its result is always grouped; it takes the grouped data as they are."""

OverSequences = Literal["", "map", "filter", "skip_map"]
"""What a term on objects does with a sequence of them: it is mapped over it, filters it, or is mapped over those
elements for which it gives a value."""


class Parameter:
    """One parameter of a term."""

    __slots__ = ("default", "kind", "name")

    def __init__(self, name: str, kind: Kind, default: Any) -> None:
        self.name = name
        self.kind = kind
        self.default = default

    @property
    def text(self) -> str:
        """The parameter as the reference shows it: in brackets where it may be left out."""
        text = f"{self.name}: {self.kind.name}"
        if self.default is inspect.Parameter.empty:
            return text
        return f"[{text}]"


class Definition:
    """A term: its function and what its signature says."""

    def __init__(
        self,
        number: Term,
        function: Callable[..., Any],
        effects: Effects | Callable[[int], Effects],
        grouped: Grouped,
        over_sequences: OverSequences,
        pseudotypes: frozenset[str],
        literals: bool,
        implied_database: bool,
        fast: FastPath | None,
    ) -> None:
        self.number = number
        self.function = function
        self.name = function.__name__.rstrip("_")
        self.effects = effects
        self.grouped = grouped
        self.over_sequences = over_sequences
        self.pseudotypes = pseudotypes
        self.literals = literals
        self.implied_database = implied_database
        self.fast = fast
        self.doc = inspect.getdoc(function) or ""
        self.wants_runtime = False
        self.parameters: list[Parameter] = []
        self.rest: Parameter | None = None
        self.optargs: dict[str, Parameter] = {}
        self._read_signature()
        self.minimum = sum(parameter.default is inspect.Parameter.empty for parameter in self.parameters)
        self.minimum -= implied_database
        self.maximum = None if self.rest is not None else len(self.parameters)

    def _read_signature(self) -> None:
        hints = typing.get_type_hints(self.function, include_extras=True)
        for position, (name, parameter) in enumerate(inspect.signature(self.function).parameters.items()):
            hint = hints[name]
            if position == 0 and hint is Runtime:
                self.wants_runtime = True
                continue
            taken = Parameter(name.rstrip("_"), kind_of(hint), parameter.default)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                self.rest = taken
            elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                self.optargs[name] = taken
            else:
                self.parameters.append(taken)

    def parameter(self, position: int) -> Parameter:
        """The parameter that the argument at `position` is for."""
        if position < len(self.parameters):
            return self.parameters[position]
        assert self.rest is not None
        return self.rest

    def effects_of(self, arguments: int) -> Effects:
        """The effects of a call with so many arguments, besides theirs."""
        return self.effects if isinstance(self.effects, Effects) else self.effects(arguments)

    @property
    def takes_grouped_stream(self) -> bool:
        """Whether a grouped stream is handed to it as such."""
        return self.grouped in ("stream", "starts") or self.over_sequences != ""

    def gives_groups(self, takes_groups: bool) -> bool:
        """Whether its value may be grouped, when its first argument may be."""
        return self.grouped == "starts" or (takes_groups and self.grouped != "whole")

    def lacks_database(self, found: int) -> bool:
        """Whether the first of `found` arguments is not the database that the term works in."""
        return self.implied_database and found == self.minimum

    @property
    def parameters_text(self) -> str:
        """The parameters, as the reference shows them."""
        texts = [parameter.text for parameter in self.parameters]
        if self.rest is not None:
            texts.append("*" + self.rest.text)
        return ", ".join(texts)

    @property
    def optargs_text(self) -> str:
        """The optional arguments, as the reference shows them."""
        return ", ".join(parameter.text.strip("[]") for parameter in self.optargs.values())

    def arity_error(self, found: int) -> str | None:
        """What is wrong with `found` arguments, if anything."""
        if found >= self.minimum and (self.maximum is None or found <= self.maximum):
            return None
        return f"Expected {arity_text(self.minimum, self.maximum)} but found {found}."


class SpecialForm:
    """A term that compiles itself: the function that does it, and what is to be told about it, as it is in the
    signatures of functions."""

    def __init__(
        self,
        number: Term,
        compile_form: CompileForm,
        parameters: str,
        optargs: str,
        grouped: Grouped | Literal["never"],
        effects: Effects,
        doc: str,
    ) -> None:
        self.number = number
        self.compile = compile_form
        self.parameters = parameters
        self.optargs = optargs
        self.grouped = grouped
        self.effects = effects
        self.doc = doc


def arity_text(minimum: int, maximum: int | None) -> str:
    """How many arguments are expected, in RethinkDB's words."""
    if maximum == minimum:
        return f"{minimum} argument{'' if minimum == 1 else 's'}"
    if maximum is None:
        return f"{minimum} or more arguments"
    return f"between {minimum} and {maximum} arguments"


def kind_of(hint: Any) -> Kind:
    """The kind of parameter that an annotation names; of `X | None` that of X."""
    if typing.get_origin(hint) is typing.Annotated:
        for extra in hint.__metadata__:
            if isinstance(extra, Kind):
                return extra
    if hint in KIND_OF_TYPE:
        return KIND_OF_TYPE[hint]
    choices = [choice for choice in typing.get_args(hint) if choice is not type(None)]
    if len(choices) == 1:
        return kind_of(choices[0])
    raise TypeError(f"no kind of parameter is annotated {hint!r}")


TERMS: dict[int, Definition] = {}
"""The terms that are typed functions, by number."""

SPECIAL_FORMS: dict[int, SpecialForm] = {}
"""The terms that compile themselves, by number."""


def _claim(number: Term) -> None:
    if number in TERMS or number in SPECIAL_FORMS:
        raise ValueError(f"{number!r} is defined twice")


def term(
    number: Term,
    *,
    effects: Effects | Callable[[int], Effects] = Effects.NONE,
    grouped: Grouped = "each",
    over_sequences: OverSequences = "",
    pseudotypes: tuple[str, ...] = (),
    literals: bool = False,
    implied_database: bool = False,
    fast: FastPath | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a term.

    `effects` may be a function of the number of arguments. `over_sequences` also applies the term to sequences of what
    it takes first, `pseudotypes` names those that it then takes as objects. `literals` allows `r.literal` within its
    arguments after the first. With `implied_database` the first argument, a database, may be left out: then it is the
    one of the run option `db`. `fast` may have a closure of its own for a common form of call.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _claim(number)
        TERMS[number] = Definition(
            number, function, effects, grouped, over_sequences, frozenset(pseudotypes), literals, implied_database, fast
        )
        return function

    return register


def special_form(
    number: Term,
    parameters: str,
    optargs: str = "",
    *,
    grouped: Grouped | Literal["never"] = "never",
    effects: Effects = Effects.NONE,
    doc: str | None = None,
) -> Callable[[CompileForm], CompileForm]:
    """Register a function that compiles a term by itself. What its signature would be and what it means (else its
    docstring says it) is for the reference; "never" means that the term does not take grouped data."""

    def register(function: CompileForm) -> CompileForm:
        _claim(number)
        meaning = inspect.getdoc(function) if doc is None else doc
        SPECIAL_FORMS[number] = SpecialForm(number, function, parameters, optargs, grouped, effects, meaning or "")
        return function

    return register
