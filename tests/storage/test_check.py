"""The checker finds whatever does not fit together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from photondb.api.catalogue import CreateIndex
from photondb.api.context import INTERNAL
from photondb.config import StartupError
from photondb.datum.keys import encode_key
from services.storage import layout
from services.storage.check import check_directory, check_store
from services.storage.log import HEADER
from services.storage.rocks import Batch, Store
from tests.storage.conftest import Node
from tests.storage.language import constant, term

DOCUMENTS = layout.document_prefix(1)
ENTRIES = layout.entry_prefix(1, 1)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A data directory with table 1 of ten documents and index 1 on `a`, and fifteen changes in its log."""
    node = Node(tmp_path / "data")
    await node.start()
    table = await node.table("documents")
    await table.change(CreateIndex("test", "documents", "by_a", term(lambda row: row["a"])))
    while not (await node.storage.index_status(INTERNAL, table.info.id))[0].ready:
        await asyncio.sleep(0.001)
    await table.insert(*({"id": number, "a": number} for number in range(10)))
    await table.write("update", keys=range(5), function=constant({"b": 1}))
    await node.stop()
    return node.path


def put(key: bytes, value: bytes) -> Callable[[Store], None]:
    def change(store: Store) -> None:
        batch = Batch()
        batch.put(key, value)
        store.write(batch)

    return change


def delete(key: bytes) -> Callable[[Store], None]:
    def change(store: Store) -> None:
        assert store.get(key) is not None
        batch = Batch()
        batch.delete(key)
        store.write(batch)

    return change


def earlier(sequence: int) -> Callable[[Store], None]:
    """Set the time of a record to 1970."""

    def change(store: Store) -> None:
        key = layout.record_key(1, 0, sequence)
        value = store.get(key)
        assert value is not None
        put(key, bytes(8) + value[8:])(store)

    return change


def miscounted(sequence: int) -> Callable[[Store], None]:
    """Make the row total of a record wrong."""

    def change(store: Store) -> None:
        key = layout.record_key(1, 0, sequence)
        value = store.get(key)
        assert value is not None
        time_us, rows, *rest = HEADER.unpack_from(value)
        put(key, HEADER.pack(time_us, rows + 1, *rest) + value[HEADER.size :])(store)

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (delete(DOCUMENTS + encode_key(7)), "index by_a has an entry of the document"),
        (delete(DOCUMENTS + encode_key(7)), "counts 10 documents of"),
        (delete(DOCUMENTS + encode_key(7)), "is not what its last record says"),
        (put(DOCUMENTS + encode_key(99), b'{"id":99}'), "but there are 11 of"),
        (put(DOCUMENTS + encode_key(7), b'{"id":8,"a":7}'), "has another primary key"),
        (put(DOCUMENTS + encode_key(7), b'{"a":7}'), "has no primary key"),
        (delete(ENTRIES + encode_key(7) + encode_key(7)), "index by_a lacks an entry of the document"),
        (delete(ENTRIES + encode_key(7) + encode_key(7)), "index by_a has 9 entries where 10 are right"),
        (put(ENTRIES + encode_key(8) + encode_key(7), encode_key(7)), "has an entry that the document"),
        (delete(layout.record_key(1, 0, 12)), "lacks the records from 12 to 12"),
        (earlier(12), "goes back in time at record 12"),
        (miscounted(12), "has wrong totals in record 12"),
        (put(layout.document_prefix(9) + b"x", b"{}"), "keys of the kind d of a table 9 that does not exist"),
        (put(layout.entry_prefix(1, 5) + b"x", b""), "keys of an index 5 that does not exist"),
    ],
)
def test_problems_are_found(path: Path, change: Callable[[Store], None], problem: str) -> None:
    store = Store.open(path)
    assert list(check_store(store)) == []
    change(store)
    assert problem in "\n".join(check_store(store))
    store.close()


def test_lost_log_is_found(path: Path) -> None:
    store = Store.open(path)
    batch = Batch()
    batch.delete_range(layout.log_prefix(1), layout.end_of(layout.log_prefix(1)))
    store.write(batch)
    assert "is empty, but there are 10 documents" in "\n".join(check_store(store))
    store.close()


def test_report(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_directory(path) == 0
    printed = capsys.readouterr()
    assert printed.out == "test.documents: 10 documents of 170 bytes, change 15\n"
    assert printed.err == ""
    store = Store.open(path)
    delete(DOCUMENTS + encode_key(7))(store)
    store.close()
    assert check_directory(path) == 1
    assert len(capsys.readouterr().err.splitlines()) == 4


def test_what_can_be_read_is_checked_when_a_document_is_no_json(path: Path) -> None:
    store = Store.open(path)
    put(DOCUMENTS + encode_key(7), b"{")(store)
    problems = "\n".join(check_store(store))
    assert "is not JSON" in problems
    assert "is not what its last record says" in problems
    store.close()


def test_directory_without_data_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="there is no PhotonDB data"):
        check_directory(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
