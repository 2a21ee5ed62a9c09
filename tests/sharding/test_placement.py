"""Which part a document belongs to, and which parts a range of keys may have documents of."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest

from photondb.api.catalogue import Catalogue, TableInfo
from photondb.api.storage import KeyRange, TableGone
from photondb.datum.keys import key_range, primary_key
from photondb.sharding.placement import Placement, in_order, is_single_key, part_of, ranges_of_parts


def test_the_part_of_a_key_never_changes() -> None:
    """Data on disks depends on it."""
    keys = [b"", *map(primary_key, ["a", "b", 0, 1, -2.5, True, [1, "x"], "3f2e8f0a-1111-4222-8333-444455556666"])]
    assert [part_of(key, 2) for key in keys] == [0, 0, 0, 1, 0, 0, 1, 1, 0]
    assert [part_of(key, 3) for key in keys] == [0, 0, 0, 2, 1, 1, 2, 1, 1]
    assert [part_of(key, 16) for key in keys] == [0, 1, 3, 14, 7, 5, 13, 8, 7]


@pytest.mark.parametrize("parts", [2, 3, 4, 7, 16])
@pytest.mark.parametrize(
    "keys",
    [
        list(range(4000)),
        [number * 1024 for number in range(4000)],
        [number / 8 for number in range(4000)],
        [f"user{number:05}" for number in range(4000)],
        [str(uuid.uuid5(uuid.NAMESPACE_DNS, str(number))) for number in range(4000)],
        [[number // 50, number % 50] for number in range(4000)],
    ],
    ids=["integers", "multiples", "fractions", "names", "uuids", "arrays"],
)
def test_every_part_gets_about_as_many(parts: int, keys: list[object]) -> None:
    counts = Counter(part_of(primary_key(key), parts) for key in keys)
    fair = len(keys) / parts
    assert set(counts) == set(range(parts))
    assert all(abs(count - fair) < 0.25 * fair for count in counts.values()), counts


@pytest.mark.parametrize(
    ("low", "high", "single"),
    [
        ((1, "closed"), (1, "closed"), True),
        (("a", "closed"), ("a", "closed"), True),
        (([1, "x"], "closed"), ([1, "x"], "closed"), True),
        ((1, "closed"), (2, "open"), False),
        ((1, "closed"), (2, "closed"), False),
        (("a", "open"), ("a", "closed"), False),
        (("a", "open"), ("b", "open"), False),
    ],
)
def test_ranges_of_one_key(low: tuple[object, str], high: tuple[object, str], single: bool) -> None:
    bounds = key_range(low[0], high[0], low[1], high[1])  # type: ignore[arg-type]
    assert is_single_key(KeyRange(*bounds)) is single


def test_bounds_that_are_no_keys() -> None:
    assert not is_single_key(KeyRange())
    assert not is_single_key(KeyRange(b"S", b"T"))
    assert not is_single_key(KeyRange(b"Sa\x01", b"Sa\x02"))
    assert not is_single_key(KeyRange(b"N\x00", b"N\x01"))


def test_single_keys_go_to_their_part_and_others_to_all() -> None:
    ranges = [KeyRange(*key_range(n, n, "closed", "closed")) for n in range(20)]
    divided = ranges_of_parts(ranges, 3)
    assert sorted(divided) == [0, 1, 2]
    for part, found in divided.items():
        assert found == [wanted for wanted in ranges if part_of(wanted.low, 3) == part]
    wide = KeyRange(*key_range(1, 5, "closed", "open"))
    assert ranges_of_parts([wide], 3) == {0: [wide], 1: [wide], 2: [wide]}
    mixed = ranges_of_parts([ranges[0], wide], 3)
    assert sum(found == [ranges[0], wide] for found in mixed.values()) == 1
    assert sum(found == [wide] for found in mixed.values()) == 2


def test_ranges_in_order() -> None:
    one, two, three = KeyRange(b"a", b"b"), KeyRange(b"b", b"c", repeat=2), KeyRange(b"d", b"e")
    assert in_order([three, one, two]) == [one, two, three]
    assert in_order([one, KeyRange(b"x", b"x")]) == [one]
    assert in_order([KeyRange(b"a", b"c"), two]) is None
    assert in_order([one, one]) is None


def test_what_is_known_of_tables() -> None:
    placement = Placement()
    single = TableInfo(1, "u1", "one", "test", nodes=(2,))
    spread = TableInfo(2, "u2", "two", "test", nodes=(1, 0))
    tables = {("test", "one"): single, ("test", "two"): spread}
    assert not placement.knows(1)
    placement.learn(Catalogue(5, {}, tables))
    placement.learn(Catalogue(4, {}, {}))  # which is older
    assert placement.knows(1)
    assert placement.info(2) is spread
    assert {placement.node_of(1, primary_key(key)) for key in range(50)} == {2}
    keys = [(table, primary_key(key)) for key in range(50) for table in (1, 2)]
    divided = placement.divide(keys)
    assert sorted(divided) == [0, 1, 2]
    assert sorted(position for positions in divided.values() for position in positions) == list(range(100))
    for node, positions in divided.items():
        assert all(placement.node_of(*keys[position]) == node for position in positions)
    for call in (lambda: placement.info(3), lambda: placement.node_of(3, b""), lambda: placement.divide([(3, b"")])):
        with pytest.raises(TableGone):
            call()
