"""Hypothesis strategies that generate values."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from photondb.datum.binary import make_binary
from photondb.datum.time import make_time
from photondb.datum.types import MAXVAL, MINVAL, normalise_number

integers = st.integers(-(2**53), 2**53) | st.integers(-5, 5)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-5, 5)
numbers = (integers | floats).map(normalise_number)
# A small alphabet makes strings meet that share prefixes, with the characters that keys escape.
strings = st.text(st.characters(exclude_categories=["Cs"])) | st.text("\0\x01a\xff\u0100\U0001f600", max_size=4)
binaries = (st.binary() | st.binary(max_size=3)).map(make_binary)
minutes = st.integers(-12 * 60 + 1, 14 * 60)
timezones = minutes.map(lambda offset: f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02}:{abs(offset) % 60:02}")
times = st.builds(make_time, st.integers(-(10**13), 2 * 10**14).map(lambda ms: ms / 1000), timezones)
geometries = st.builds(
    lambda x, y: {"$reql_type$": "GEOMETRY", "type": "Point", "coordinates": [x, y]}, numbers, numbers
)

key_scalars = st.booleans() | numbers | strings | binaries | times
keys = st.recursive(key_scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=8)
bounds = st.recursive(
    key_scalars | st.sampled_from([MINVAL, MAXVAL]), lambda inner: st.lists(inner, max_size=3), max_leaves=6
)

scalars = st.none() | key_scalars | geometries


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = strings.filter(lambda name: name != "$reql_type$")
    return st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4)


values = st.recursive(scalars, _containers, max_leaves=12)
"""Everything that can be stored, in canonical form."""
