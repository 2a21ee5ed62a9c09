"""The terms of the language, one module per family. Importing this package registers all of them."""

from photondb.reql.terms import (
    arithmetic,
    control,
    databases,
    fields,
    indexes,
    selections,
    tables,
    write_hooks,
    writes,
)

__all__ = [
    "arithmetic",
    "control",
    "databases",
    "fields",
    "indexes",
    "selections",
    "tables",
    "write_hooks",
    "writes",
]
