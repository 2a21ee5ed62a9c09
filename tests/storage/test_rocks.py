"""Each trap of the binding that `services.storage.rocks` is there to avoid."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from photondb.config import StartupError
from services.storage.rocks import Batch, Recovery, Store, StoreError
from services.storage.views import Reader, View

ROWS = 500


def fill(store: Store, rows: int = ROWS, value: bytes = b"v" * 300) -> None:
    """Write rows ``k000000`` and so on, each by a batch of its own, which also has ``o...`` with the same number."""
    for number in range(rows):
        batch = Batch()
        batch.put(b"k%06d" % number, value)
        batch.put(b"o%06d" % number, value)
        store.write(batch)


@contextmanager
def opened(path: Path, *, recovery: Recovery = "strict") -> Iterator[Store]:
    store = Store.open(path, recovery=recovery)
    try:
        yield store
    finally:
        store.close()


def read_all(reader: Reader) -> list[tuple[bytes, bytes]]:
    rows: list[tuple[bytes, bytes]] = []
    while not reader.done:
        rows += reader.take(64)
    return rows


def all_keys(store: Store) -> list[bytes]:
    reader = View(store).read(b"a", b"z", keys_only=True)
    keys: list[bytes] = []
    while not reader.done:
        keys += reader.take_keys(64)
    return keys


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A directory as a crash leaves it: everything is in the write-ahead log and nothing in table files."""
    with opened(tmp_path / "live") as store:
        fill(store)
        store.sync()
        shutil.copytree(tmp_path / "live", tmp_path / "crashed")
    return tmp_path / "crashed"


def only_log(path: Path) -> Path:
    (found,) = [file for file in path.glob("*.log") if file.stat().st_size]
    return found


def flip_byte(file: Path, position: int) -> None:
    with file.open("r+b") as opened_file:
        opened_file.seek(position)
        (byte,) = opened_file.read(1)
        opened_file.seek(position)
        opened_file.write(bytes([byte ^ 0xFF]))


# --- recovery


def test_everything_written_is_there_after_a_crash(crashed: Path) -> None:
    with opened(crashed) as store:
        assert len(all_keys(store)) == 2 * ROWS


def test_flipped_byte_in_the_middle_of_the_log_is_reported_not_shortened(crashed: Path) -> None:
    log = only_log(crashed)
    flip_byte(log, log.stat().st_size // 2)
    with pytest.raises(
        StartupError, match=r"is damaged .*: restore a backup .*, or run `photondb repair .* --to NEWDIR`"
    ):
        Store.open(crashed)


def test_salvage_keeps_what_stands_before_the_damage(crashed: Path) -> None:
    log = only_log(crashed)
    flip_byte(log, log.stat().st_size // 2)
    with opened(crashed, recovery="salvage") as store:
        keys = all_keys(store)
        assert 0 < len(keys) < 2 * ROWS
        assert [key[1:] for key in keys[: len(keys) // 2]] == [key[1:] for key in keys[len(keys) // 2 :]]
    with opened(crashed) as store:
        assert all_keys(store) == keys


@pytest.mark.parametrize("lost_bytes", [1, 100, 650])
def test_torn_end_of_the_log_drops_only_the_torn_batch(crashed: Path, lost_bytes: int) -> None:
    log = only_log(crashed)
    os.truncate(log, log.stat().st_size - lost_bytes)
    torn = 1 if lost_bytes < 600 else 2
    with opened(crashed) as store:
        assert all_keys(store) == [
            prefix + b"%06d" % number for prefix in (b"k", b"o") for number in range(ROWS - torn)
        ]


def test_damaged_table_file_is_an_error_of_every_way_to_read_it(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        fill(store, 5000)
        store.flush()
    (table,) = tmp_path.glob("*.sst")
    flip_byte(table, table.stat().st_size // 3)
    with opened(tmp_path) as store:
        with pytest.raises(StoreError, match="damaged") as caught:
            all_keys(store)
        assert caught.value.kind == "corrupt"
        with pytest.raises(StoreError, match="damaged"):
            read_all(View(store).read(b"k", b"p", descending=True))
        view = View(store)
        view.pin()
        with pytest.raises(StoreError, match="damaged"):
            read_all(view.read(b"k", b"p"))
        view.close()
        with pytest.raises(StoreError, match="damaged"):
            store.get_many([b"k%06d" % number for number in range(5000)])


def test_batch_is_whole_or_absent_and_consumed_once(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        batch = Batch()
        batch.put(b"k1", b"1")
        batch.delete(b"k2")
        batch.delete_range(b"m", b"n")
        assert len(batch) == 3
        store.write(batch)
        with pytest.raises(StoreError):
            store.write(batch)
        assert store.get(b"k1") == b"1"


# --- opening


def test_directory_in_use_by_another_process(tmp_path: Path) -> None:
    with opened(tmp_path):
        script = (
            "import sys; from pathlib import Path; from photondb.config import StartupError\n"
            "from services.storage.rocks import Store\n"
            "try: Store.open(Path(sys.argv[1]))\n"
            "except StartupError as error: print(error)\n"
        )
        found = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
        )
    assert (
        found.stdout
        == f"the data directory {tmp_path} is in use by another process: stop it, or choose another directory\n"
    )


def test_path_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(StartupError, match=r"^the data directory .* cannot be used: File exists$"):
        Store.open(path)


def test_unreadable_directory(tmp_path: Path) -> None:
    """As another user where the tests run as root, whom nothing is forbidden."""
    with opened(tmp_path / "data"):
        pass
    (tmp_path / "data").chmod(0)
    nobody = 65534 if os.geteuid() == 0 else None
    script = (
        "import os, sys; from pathlib import Path; from photondb.config import StartupError\n"
        "from services.storage.rocks import Store\n"
        "if sys.argv[2]: os.setuid(int(sys.argv[2]))\n"
        "try: Store.open(Path(sys.argv[1]))\n"
        "except StartupError as error: print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "data"), str(nobody or "")],
        capture_output=True,
        text=True,
        check=True,
    )
    (tmp_path / "data").chmod(0o700)
    assert found.stdout == f"the data directory {tmp_path / 'data'} cannot be used: Permission denied\n"


def test_directory_of_something_else(tmp_path: Path) -> None:
    from rocksdict import Options, Rdict

    other = Rdict(str(tmp_path), Options(raw_mode=True))
    other[b"key"] = b"value"
    other.close()
    with pytest.raises(StartupError, match="holds no data of this version"):
        Store.open(tmp_path)


def test_directory_of_rethinkdb(tmp_path: Path) -> None:
    (tmp_path / "metadata").write_bytes(b"RethinkDB\x002.4.4")
    with pytest.raises(StartupError, match="is one of RethinkDB: choose another"):
        Store.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metadata"]
    (tmp_path / "metadata").write_bytes(b"of somebody else")
    Store.open(tmp_path).close()


def test_reopened_database_has_our_options(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        fill(store, 10)
    with opened(tmp_path):
        newest = max(tmp_path.glob("OPTIONS-*"), key=lambda file: file.name)
        options = newest.read_text()
    assert "write_buffer_size=67108864" in options
    assert "filter_policy=bloomfilter\n" in options
    assert "wal_recovery_mode=kTolerateCorruptedTailRecords" in options


def test_open_reader_keeps_the_lock_until_it_is_closed(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    fill(store, 10)
    view = View(store)
    reader = view.read(b"k", b"p")
    view.pin()
    store.close()
    with pytest.raises(StartupError, match="in use"):
        Store.open(tmp_path)
    reader.close()
    view.close()
    with opened(tmp_path) as again:
        assert len(all_keys(again)) == 20


# --- ordered reads


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "data") as store:
        fill(store, 100)
        yield store


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (b"k000010", b"k000013", [10, 11, 12]),
        (b"k0000095", b"k000012x", [10, 11, 12]),  # bounds that are no keys
        (b"k000098", b"o", [98, 99]),  # up to a neighbour
        (b"a", b"k000001", [0]),  # from the beginning
        (b"k000010", b"k000010", []),
        (b"k000013", b"k000010", []),
        (b"l", b"n", []),
    ],
)
def test_bounds(store: Store, low: bytes, high: bytes, expected: list[int], descending: bool, pinned: bool) -> None:
    view = View(store)
    if pinned:
        view.pin()
    if descending:
        expected = expected[::-1]
    for chunk in (1, 2, 1000):
        reader = view.read(low, high, descending=descending)
        rows = []
        while not reader.done:
            rows += reader.take(chunk)
        assert [key for key, _ in rows] == [b"k%06d" % number for number in expected]
        reader = view.read(low, high, descending=descending, keys_only=True)
        keys = []
        while not reader.done:
            keys += reader.take_keys(chunk)
        assert keys == [b"k%06d" % number for number in expected]
    view.close()


def test_upper_bound_outlives_the_callers_objects(store: Store) -> None:
    """The iterator has a pointer to the bound. Were its bytes freed, other objects would soon stand in their place."""
    readers = [View(store).read(b"k", b"k" + b"%06d" % (number + 1)) for number in range(50)]
    gc.collect()
    churn = [b"z%06d" % number for number in range(10_000)]
    for number, reader in enumerate(readers):
        assert len(reader.take(1000)) == number + 1
    assert len(churn) == 10_000


def test_reader_sees_the_point_in_time_at_which_it_was_made(store: Store) -> None:
    forward, backward = View(store).read(b"k", b"l"), View(store).read(b"k", b"l", descending=True)
    first = forward.take(10)
    batch = Batch()
    batch.delete_range(b"k000050", b"l")
    batch.put(b"k000020", b"new")
    batch.put(b"k9", b"new")
    store.write(batch)
    rows = first + forward.take(1000)
    assert [key for key, _ in rows] == [b"k%06d" % number for number in range(100)]
    assert rows == backward.take(1000)[::-1]
    assert b"new" not in {value for _, value in rows}
    assert len(View(store).read(b"k", b"l").take(1000)) == 51


def test_pinned_view_is_one_point_in_time_for_ranges_and_documents(store: Store) -> None:
    view = View(store)
    view.pin()
    batch = Batch()
    batch.delete_range(b"k", b"l")
    batch.put(b"o000001", b"new")
    store.write(batch)
    assert len(view.read(b"k", b"l").take(1000)) == 100
    assert view.get_many([b"o000001", b"k000007", b"k000007x", b"zzz"]) == [b"v" * 300, b"v" * 300, None, None]
    assert len(view.read(b"o", b"p", descending=True).take(1000)) == 100
    view.close()


def test_view_that_was_not_pinned_cannot_be_used_after_a_write(store: Store) -> None:
    view = View(store)
    fill(store, 1)
    with pytest.raises(AssertionError):
        view.read(b"k", b"l")
    with pytest.raises(AssertionError):
        view.get_many([b"k000001"])
    with pytest.raises(AssertionError):
        view.pin()
