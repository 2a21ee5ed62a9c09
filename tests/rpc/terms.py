"""Some functions, as the terms that they travel as."""

from __future__ import annotations

from typing import Any

import photondb.reql.terms  # noqa: F401  # registers the terms

IS_TRUE: list[Any] = [69, [[2, [1]], [170, [[10, [1]], "flag"]]]]
"""row => row["flag"]"""

ADD_ONE: list[Any] = [69, [[2, [1]], {"n": [24, [[170, [[10, [1]], "n"]], 1]]}]]
"""row => {n: row["n"] + 1}"""

KEEP_OLD: list[Any] = [69, [[2, [1, 2, 3]], [10, [2]]]]
"""(id, old, new) => old"""
