"""The names of databases, tables and server tags."""

from __future__ import annotations

import re
from typing import Any

from photondb.reql.errors import logic_error
from photondb.reql.values import as_datum, wrong_datum

SYSTEM_DATABASE = "rethinkdb"
"""The database of system tables. It is always there and cannot be changed."""

VALID_CHARACTERS = "Use A-Z, a-z, 0-9, _ and - only"

_is_name = re.compile(r"[A-Za-z0-9_-]+").fullmatch


def is_name(text: str) -> bool:
    """Whether `text` can be a name."""
    return _is_name(text) is not None


def check_name(value: Any, what: str) -> str:
    """A value as a name; `what` ("Database", "Table", "Server tag") says in errors whose it is."""
    if type(value) is not str:
        value = as_datum(value)
        if type(value) is not str:
            raise wrong_datum("STRING", value)
    if _is_name(value) is None:
        raise logic_error(f"{what} name `{value}` invalid ({VALID_CHARACTERS}).")
    return value
