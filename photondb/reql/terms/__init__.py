"""The terms of the language, one module per family. Importing this package registers all of them."""

from photondb.reql.terms import control, fields

__all__ = ["control", "fields"]
