"""The values of PhotonDB: their types, their total order, their JSON, and their order-preserving keys.

A value ("datum") is what orjson makes of JSON: None, bool, int, float, str, list or dict.  Times, binaries and
geometry stay the objects with a ``$reql_type$`` field that travel on the wire.
"""

from photondb.datum.errors import DatumError
from photondb.datum.json import dumps, loads, print_datum, validate
from photondb.datum.order import compare, equal, sort_key
from photondb.datum.types import MAXVAL, MINVAL, Datum, Extreme, reql_type, truthy, type_name

__all__ = [
    "MAXVAL",
    "MINVAL",
    "Datum",
    "DatumError",
    "Extreme",
    "compare",
    "dumps",
    "equal",
    "loads",
    "print_datum",
    "reql_type",
    "sort_key",
    "truthy",
    "type_name",
    "validate",
]
