"""The cache of documents gives what is in the store, whatever is read and written, and stays within its size."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import orjson
from hypothesis import given
from hypothesis import strategies as st

from photondb.api.catalogue import CreateTable
from photondb.api.context import INTERNAL
from photondb.api.storage import Write
from photondb.bus import LocalBus
from photondb.datum.keys import primary_key
from services.storage.document_cache import OVERHEAD_BYTES, DocumentCache
from services.storage.options import StorageOptions
from services.storage.service import Storage
from tests.storage.language import func

KEYS = [b"k%d" % number for number in range(12)]


class Below:
    """What the cache stands in front of. It counts the documents that are asked for."""

    def __init__(self) -> None:
        self.documents: dict[bytes, bytes] = {}
        self.asked = 0

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        self.asked += len(keys)
        return [self.documents.get(key) for key in keys]


reads = st.lists(st.sampled_from(KEYS), min_size=1, max_size=5)
documents = st.one_of(st.none(), st.integers(0, 30).map(lambda size: b"x" * size), st.just(b"y" * 500))
writes = st.dictionaries(st.sampled_from(KEYS), documents, min_size=1, max_size=4)


@given(st.lists(reads | writes), st.sampled_from([0, 3000, 13_000, 1_000_000]))
def test_reads_give_what_was_written(operations: list[list[bytes] | dict[bytes, bytes | None]], size: int) -> None:
    below = Below()
    cache = DocumentCache(below.get_many, size)
    for operation in operations:
        if isinstance(operation, list):
            assert cache.read(operation) == [below.documents.get(key) for key in operation]
            continue
        for key, document in operation.items():
            if document is None:
                below.documents.pop(key, None)
            else:
                below.documents[key] = document
        cache.note(operation)
        assert cache.kept().items() <= below.documents.items()


def test_what_fits_is_read_once() -> None:
    below = Below()
    below.documents = {b"%d" % number: b"x" * 100 for number in range(100)}
    cache = DocumentCache(below.get_many, 3 * 101 * (100 + 3 + OVERHEAD_BYTES))
    for _ in range(5):
        cache.read(list(below.documents))
    assert below.asked == 100


def test_more_than_fits_is_let_go() -> None:
    below = Below()
    below.documents = {b"%d" % number: b"x" * 100 for number in range(10_000)}
    most = 300_000
    cache = DocumentCache(below.get_many, most)
    for key in below.documents:
        cache.read([b"17", key])  # one of them is used all the time
        held = [*cache._young.items(), *cache._old.items(), *cache._dying.items()]
        assert sum(len(key) + len(document) + OVERHEAD_BYTES for key, document in held) <= most + OVERHEAD_BYTES + 110
    assert below.asked == 10_000  # each was read once, that one too


def test_a_document_that_is_too_large_is_not_kept() -> None:
    below = Below()
    below.documents = {b"k": b"small"}
    cache = DocumentCache(below.get_many, 30_000)
    cache.read([b"k"])
    below.documents[b"k"] = b"x" * 10_000
    cache.note(below.documents)
    assert cache.read([b"k"]) == [b"x" * 10_000]
    assert cache.kept() == {}


async def test_a_storage_with_a_small_cache_reads_what_it_wrote(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "data", LocalBus(), options=StorageOptions(cache_bytes=1 << 17))
    await storage.start()
    catalogue = await storage.change_catalogue(INTERNAL, CreateTable("test", "t"))
    table = catalogue.tables["test", "t"].id
    choose = random.Random(5)
    expected: dict[int, int] = {}
    add_one = func(lambda row: {"n": row["n"] + 1})

    async def work() -> None:
        for _ in range(100):
            key = choose.randrange(100)
            encoded = primary_key(key)
            kind = choose.choice(["insert", "update", "delete", "get"])
            if kind == "insert":
                document = {"id": key, "n": 0, "text": "x" * choose.randrange(200)}
                write = Write(table, "insert", documents=[document], conflict="replace", durability="soft")
                expected[key] = 0
            elif kind == "update":
                write = Write(table, "update", keys=[encoded], function=add_one, durability="soft")
                if key in expected:
                    expected[key] += 1
            elif kind == "delete":
                write = Write(table, "delete", keys=[encoded], durability="soft")
                expected.pop(key, None)
            else:
                (raw,) = await storage.get(INTERNAL, [(table, encoded)])
                assert (None if raw is None else orjson.loads(raw)["n"]) == expected.get(key)
                continue
            await storage.write(INTERNAL, [write])

    await asyncio.gather(*[work() for _ in range(10)])
    kept = storage._store.documents.kept()
    assert 20 < len(kept) < 60
    assert list(kept.values()) == storage._store.get_many(list(kept))
    await storage.stop()
