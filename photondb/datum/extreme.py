"""The two values that are less than and greater than all others, which bound ranges and cannot be stored."""

from __future__ import annotations

__all__ = ["MAXVAL", "MINVAL", "Extreme"]


class Extreme:
    """``r.minval`` or ``r.maxval``: one object each, so that ``is`` compares them."""

    __slots__ = ("type_name",)

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    def __repr__(self) -> str:
        return self.type_name

    def __reduce__(self) -> str:
        """Pickle and copy by name, so that there are never two of the same extreme."""
        return self.type_name


MINVAL = Extreme("MINVAL")
MAXVAL = Extreme("MAXVAL")
