"""Binary: a string's bytes as a value."""

from __future__ import annotations

from typing import Any

from photondb.datum.binary import make_binary
from photondb.reql.parameters import Datum, as_string
from photondb.reql.registry import term
from photondb.reql.wire import Term


@term(Term.BINARY)
def binary(data: Datum) -> dict[str, Any]:
    """The UTF-8 of a string as a binary; a binary itself."""
    if type(data) is dict and data.get("$reql_type$") == "BINARY":
        return data
    return make_binary(as_string(data).encode())
