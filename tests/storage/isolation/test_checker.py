"""The checker finds each anomaly in a small history that has it, and nothing in one that has none."""

from __future__ import annotations

from typing import Any

from tests.storage.isolation.checker import check
from tests.storage.isolation.history import Content, History, Key, Read, Transaction, Write

X: Key = ("t", 1)
Y: Key = ("t", 2)


def read(key: Key, version: str | None, at: int = 100) -> Read:
    return Read((key,), {} if version is None else {key: version}, None, at)


def group(number: int, found: dict[Key, str], at: int = 100) -> Read:
    return Read((X, Y), found, number, at)


def write(key: Key, version: str, group: int | None = 0) -> Write:
    return Write(key, version, None if group is None else Content(group))


def committed(name: str, *operations: Read | Write, at: int = 50) -> Transaction:
    return Transaction(name, list(operations), "committed", at)


def aborted(name: str, *operations: Read | Write) -> Transaction:
    return Transaction(name, list(operations), "aborted")


FIRST = committed("first", write(X, "x0"), write(Y, "y0"), at=0)
"""What is there at the beginning of most histories."""


def found(
    level: Any, transactions: list[Transaction], x: list[str] | None = None, y: list[str] | None = None
) -> set[str]:
    versions = {X: ["x0", *(x or [])], Y: ["y0", *(y or [])]}
    return {anomaly.phenomenon for anomaly in check(History([FIRST, *transactions], versions), level)}


def test_one_after_the_other() -> None:
    a = committed("a", read(X, "x0"), write(X, "x1"), read(X, "x1"))
    b = committed("b", read(X, "x1"), read(Y, "y0"), write(Y, "y1"), write(Y, "y2"))
    c = committed("c", read(Y, "y2"), write(X, "x2", None), read(X, None))
    d = committed("d", read(X, None), group(0, {Y: "y2"}))
    assert found("serializable", [a, b, c, d], ["x1", "x2"], ["y2"]) == set()


def test_g0() -> None:
    a, b = committed("a", write(X, "xa"), write(Y, "ya")), committed("b", write(X, "xb"), write(Y, "yb"))
    assert "G0" in found("snapshot", [a, b], ["xa", "xb"], ["yb", "ya"])


def test_g1a() -> None:
    assert found("snapshot", [aborted("a", write(X, "xa")), committed("b", read(X, "xa"))]) == {"G1a"}
    assert found("snapshot", [committed("b", read(X, "from nowhere"))]) == {"G1a"}


def test_g1b() -> None:
    a = committed("a", write(X, "x1"), write(X, "x2"))
    assert found("snapshot", [a, committed("b", read(X, "x1"))], ["x2"]) == {"G1b"}


def test_g1c() -> None:
    a = committed("a", write(X, "xa"), read(Y, "yb"))
    b = committed("b", write(Y, "yb"), read(X, "xa"))
    assert "G1c" in found("snapshot", [a, b], ["xa"], ["yb"])


def test_dirty_read() -> None:
    a = committed("a", write(X, "xa"), at=200)
    assert found("snapshot", [a, committed("b", read(X, "xa", at=100))], ["xa"]) == {"dirty read"}


def test_internal() -> None:
    a = committed("a", write(X, "xa"), at=60)
    assert "internal" in found("snapshot", [a, committed("b", read(X, "x0"), read(X, "xa"))], ["xa"])
    assert "internal" in found("snapshot", [committed("b", write(X, "xb"), read(X, "x0"))], ["xb"])
    assert "internal" in found("snapshot", [committed("b", write(X, "xb", None), read(X, "x0"))], ["xb"])
    assert "internal" in found("snapshot", [committed("b", read(X, None), read(X, "x0"))])
    assert "internal" in found("snapshot", [committed("b", read(X, "x0"), group(0, {Y: "y0"}))])
    assert "internal" in found("snapshot", [committed("b", group(0, {Y: "y0"}), read(X, "x0"))])


def test_lost_update() -> None:
    a = committed("a", read(X, "x0"), write(X, "xa"))
    b = committed("b", read(X, "x0"), write(X, "xb"))
    assert found("snapshot", [a, b], ["xa", "xb"]) >= {"lost update", "G-single"}


def test_read_skew() -> None:
    a = committed("a", write(X, "xa"), write(Y, "ya"), at=60)
    b = committed("b", read(X, "x0"), read(Y, "ya"))
    assert found("snapshot", [a, b], ["xa"], ["ya"]) >= {"G-single"}


def test_write_skew() -> None:
    a = committed("a", read(X, "x0"), read(Y, "y0"), write(X, "xa"))
    b = committed("b", read(X, "x0"), read(Y, "y0"), write(Y, "yb"))
    assert found("serializable", [a, b], ["xa"], ["yb"]) == {"G2"}
    assert found("snapshot", [a, b], ["xa"], ["yb"]) == set()


def test_phantom() -> None:
    """Each has counted a group that the other then added to."""
    a = committed("a", group(1, {}), write(X, "xa", 1))
    b = committed("b", group(1, {}), write(Y, "yb", 1))
    assert found("serializable", [a, b], ["xa"], ["yb"]) == {"G2"}
    # Who adds to another group is in nobody's way.
    c = committed("c", group(1, {}), write(Y, "yc", 2))
    assert found("serializable", [a, c], ["xa"], ["yc"]) == set()


def test_a_phantom_within_one_transaction() -> None:
    a = committed("a", write(X, "xa", 1), at=60)
    b = committed("b", group(1, {}), read(Y, "y0"), group(1, {X: "xa"}))
    assert found("snapshot", [a, b], ["xa"]) >= {"internal", "G-single"}


def test_a_long_fork_and_what_snapshot_isolation_does_not_allow() -> None:
    """Two readers see two independent writes in different orders."""
    a, b = committed("a", write(X, "xa")), committed("b", write(Y, "yb"))
    c = committed("c", read(X, "xa"), read(Y, "y0"))
    d = committed("d", read(X, "x0"), read(Y, "yb"))
    assert found("snapshot", [a, b, c, d], ["xa"], ["yb"]) == {"G-SI"}
    assert found("serializable", [a, b, c, d], ["xa"], ["yb"]) == {"G-SI", "G2"}
