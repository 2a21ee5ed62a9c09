from __future__ import annotations

import pytest

from photondb.bus.subjects import check_pattern, check_subject, matches


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.b", "a.b.c", False),
        ("a.b.c", "a.b", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a", False),
        ("*.b", "a.b", True),
        ("*.b", "a.c", False),
        ("a.*.c", "a.b.c", True),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        (">", "a.b", True),
        ("*.>", "a.b.c", True),
        ("*.>", "a", False),
    ],
)
def test_matching(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) is expected


@pytest.mark.parametrize("subject", ["", ".", "a.", ".a", "a..b", "a b", "a\r\nPUB x", "a.*", "a.>", "a\0"])
def test_what_is_no_subject(subject: str) -> None:
    with pytest.raises(ValueError, match="not a subject"):
        check_subject(subject)


@pytest.mark.parametrize("pattern", ["", "a.", "a..b", "a.>.b", "a*", "a.b>", "a b", "a\n"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="not a pattern"):
        check_pattern(pattern)


@pytest.mark.parametrize("pattern", ["a", "a.b-c_d.1", "*", ">", "*.*", "a.*.>", "photondb.changes.*.3"])
def test_patterns(pattern: str) -> None:
    check_pattern(pattern)
