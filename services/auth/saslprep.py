"""SASLprep (RFC 4013): one spelling for names that look the same.

Applied to the names of users, both when an account is made and at a login, so that nobody can make a second `admin`
that differs from the first by an invisible character. Passwords are taken as they are: RFC 5802 would have them
prepared by the client too, which no RethinkDB driver does, so that a password that changes under preparation could
never be used.
"""

from __future__ import annotations

import stringprep
import unicodedata

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """`text` as RFC 4013 prepares it. Raises ValueError when it has characters that are prohibited.

    Code points that Unicode 3.2 does not assign are let through, as for the RFC's "queries": most scripts and emoji
    that people use today are among them.
    """
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(prohibited(character) for character in prepared for prohibited in _PROHIBITED):
        raise ValueError("a prohibited character")
    if any(map(stringprep.in_table_d1, prepared)):  # RFC 3454, section 6: right-to-left text
        if any(map(stringprep.in_table_d2, prepared)):
            raise ValueError("right-to-left mixed with left-to-right")
        if not (stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])):
            raise ValueError("right-to-left text that does not begin and end so")
    return prepared
