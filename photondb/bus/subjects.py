"""Subjects and the patterns that match them, by the rules of NATS."""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = r"[^\s.*>\x00]+"
_SUBJECT = re.compile(rf"{_WORD}(?:\.{_WORD})*")
_PATTERN = re.compile(rf"(?:(?:{_WORD}|\*)\.)*(?:{_WORD}|\*|>)")


@lru_cache(maxsize=10_000)  # publishers use few subjects, and each very often
def check_subject(subject: str) -> None:
    """Raise ValueError unless `subject` is words joined by dots, without wildcards or white space."""
    if _SUBJECT.fullmatch(subject) is None:
        raise ValueError(f"not a subject to publish on: {subject!r}")


def check_pattern(pattern: str) -> None:
    """Raise ValueError unless `pattern` is a subject in which `*` and a final `>` may stand for words."""
    if _PATTERN.fullmatch(pattern) is None:
        raise ValueError(f"not a pattern of subjects: {pattern!r}")


def matches(pattern: str, subject: str) -> bool:
    """Whether `subject` matches `pattern`: `*` stands for one word, a final `>` for one or more."""
    patterns, words = pattern.split("."), subject.split(".")
    if patterns[-1] == ">":
        patterns.pop()
        if len(words) <= len(patterns):
            return False
        words = words[: len(patterns)]
    return len(patterns) == len(words) and all(p in ("*", word) for p, word in zip(patterns, words, strict=True))
