"""Says what is wrong with a text that is not JSON, in the words of RapidJSON, which RethinkDB reads JSON with.

It is for texts that a faster parser has refused already.
"""

from __future__ import annotations

import re

__all__ = ["flaw"]

_SPACE = re.compile(r"[ \t\n\r]*")
_DIGITS = re.compile(r"[0-9]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_HEX = re.compile(r"[0-9a-fA-F]{4}")


class _Flaw(Exception):
    """The text ends to be JSON here."""


def flaw(text: str) -> str | None:
    """What is wrong with `text`, or None if nothing is.  Raises RecursionError for what is nested too deeply."""
    try:
        _Reader(text).document()
    except _Flaw as found:
        return str(found)
    return None


class _Reader:
    """Reads a text as far as it is JSON."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def document(self) -> None:
        self._skip_space()
        if self.at == len(self.text):
            raise _Flaw("The document is empty.")
        self._value()
        self._skip_space()
        if self.at != len(self.text):
            raise _Flaw("The document root must not be followed by other values.")

    def _value(self) -> None:
        if self._take("{"):
            self._object()
        elif self._take("["):
            self._array()
        elif self._take('"'):
            self._string()
        elif not any(self._take(word) for word in ("null", "true", "false")):
            self._number()

    def _object(self) -> None:
        self._skip_space()
        if self._take("}"):
            return
        while True:
            if not self._take('"'):
                raise _Flaw("Missing a name for object member.")
            self._string()
            self._skip_space()
            if not self._take(":"):
                raise _Flaw("Missing a colon after a name of object member.")
            self._skip_space()
            self._value()
            self._skip_space()
            if self._take("}"):
                return
            if not self._take(","):
                raise _Flaw("Missing a comma or '}' after an object member.")
            self._skip_space()

    def _array(self) -> None:
        self._skip_space()
        if self._take("]"):
            return
        while True:
            self._value()
            self._skip_space()
            if self._take("]"):
                return
            if not self._take(","):
                raise _Flaw("Missing a comma or ']' after an array element.")
            self._skip_space()

    def _string(self) -> None:
        while True:
            self._skip(_PLAIN)
            if self._take('"'):
                return
            if self.at == len(self.text):
                raise _Flaw("Missing a closing quotation mark in string.")
            if not self._take("\\"):
                raise _Flaw("Invalid escape character in string.")
            self._escape()

    def _escape(self) -> None:
        if not self._take("u"):
            if self.text[self.at : self.at + 1] not in set('"\\/bfnrt'):
                raise _Flaw("Invalid escape character in string.")
            self.at += 1
            return
        if 0xD800 <= self._code_unit() <= 0xDBFF and not (self._take("\\u") and 0xDC00 <= self._code_unit() <= 0xDFFF):
            raise _Flaw("The surrogate pair in string is invalid.")

    def _code_unit(self) -> int:
        digits = _HEX.match(self.text, self.at)
        if digits is None:
            raise _Flaw("Incorrect hex digit after \\u escape in string.")
        self.at = digits.end()
        return int(digits.group(), 16)

    def _number(self) -> None:
        start = self.at
        self._take("-")
        if not self._take("0") and not self._skip(_DIGITS):
            raise _Flaw("Invalid value.")
        if self._take(".") and not self._skip(_DIGITS):
            raise _Flaw("Miss fraction part in number.")
        if self._take("e") or self._take("E"):
            if not self._take("+"):
                self._take("-")
            if not self._skip(_DIGITS):
                raise _Flaw("Miss exponent in number.")
        if abs(float(self.text[start : self.at])) == float("inf"):
            raise _Flaw("Number too big to be stored in double.")

    def _skip_space(self) -> None:
        self._skip(_SPACE)

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Step over what `pattern` matches; false when that is nothing."""
        found = pattern.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return bool(found.group())

    def _take(self, word: str) -> bool:
        """Step over `word` if it is what comes next."""
        if self.text.startswith(word, self.at):
            self.at += len(word)
            return True
        return False
