"""Looks into RocksDB's table files without RocksDB: which blocks of keys a file has, where, and how large they are.

That is what the size of a table or index on the disk is worked out from, and what tells how far damage reaches. The
format is that of RocksDB's block-based tables (format version 5; docs of RocksDB: "Rocksdb BlockBasedTable Format"): at
the end of a file there is a footer, which points to the index of the data blocks and to the index of other blocks, the
meta index, one of which holds the properties of the file. Checksums are RocksDB's to compare, when it reads a block.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import lz4.block
import msgspec
import zstandard

_FOOTER_BYTES = 53
_MAGIC = bytes.fromhex("f7cff485b741e288")
_PROPERTIES = b"rocksdb.properties"
_USER_KEYS = b"rocksdb.index.key.is.user.key"
_SHORT_HANDLES = b"rocksdb.index.value.is.delta.encoded"
_INTERNAL_BYTES = 8
"""A key in a file ends in its sequence number and kind, unless it says that it does not."""


class TableFileDamaged(Exception):
    """The parts of a file that tell what is in it cannot be read."""


class Block(msgspec.Struct, frozen=True, gc=False):
    """A block of data: a key that none of its keys is greater than, where it begins, and its size in bytes."""

    last: bytes
    start: int
    size: int


def read_blocks(path: Path) -> list[Block]:
    """The data blocks of a table file, in the order of their keys. Raises TableFileDamaged."""
    try:
        with path.open("rb") as file:
            return _read_blocks(file)
    except (OSError, ValueError, IndexError, KeyError, lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise TableFileDamaged(f"{path.name} is damaged: {error}") from None


def _read_blocks(file: BinaryIO) -> list[Block]:
    size = file.seek(0, 2)
    if size < _FOOTER_BYTES:
        raise ValueError("it is cut short")
    file.seek(size - _FOOTER_BYTES)
    footer = file.read(_FOOTER_BYTES)
    if footer[-8:] != _MAGIC:
        raise ValueError("it does not end as a table file does")
    meta_start, place = _number(footer, 1)
    meta_size, place = _number(footer, place)
    index_start, place = _number(footer, place)
    index_size, _ = _number(footer, place)
    meta = dict(_rows(_block(file, meta_start, meta_size)))
    start, place = _number(meta[_PROPERTIES], 0) if _PROPERTIES in meta else (0, 0)
    properties = dict(_rows(_block(file, start, _number(meta[_PROPERTIES], place)[0]))) if place else {}
    cut = 0 if properties.get(_USER_KEYS, b"\0") != b"\0" else _INTERNAL_BYTES
    index = _block(file, index_start, index_size)
    blocks = []
    for last, at, length in _handles(index, properties.get(_SHORT_HANDLES, b"\0") != b"\0"):
        blocks.append(Block(last[: len(last) - cut], at, length))
    return blocks


def _block(file: BinaryIO, start: int, size: int) -> bytes:
    """A block, decompressed. The byte after it tells how it is compressed."""
    file.seek(start)
    raw = file.read(size + 1)
    if len(raw) <= size:
        raise ValueError("a block is cut short")
    kind, raw = raw[size], raw[:size]
    if kind == 0:
        return raw
    length, place = _number(raw, 0)
    if kind == 4:
        return lz4.block.decompress(raw[place:], uncompressed_size=length)  # type: ignore[no-any-return]
    if kind == 7:
        return zstandard.ZstdDecompressor().decompress(raw[place:], max_output_size=length)
    raise ValueError(f"a block is compressed in an unknown way ({kind})")


def _entries_end(block: bytes) -> int:
    """Where the entries of a block end: its restart points follow, 4 bytes each, and their number."""
    return len(block) - 4 - 4 * (int.from_bytes(block[-4:], "little") & 0x7FFFFFFF)


def _rows(block: bytes) -> list[tuple[bytes, bytes]]:
    """The keys and values of a block."""
    rows = []
    key, place, end = b"", 0, _entries_end(block)
    while place < end:
        shared, place = _number(block, place)
        own, place = _number(block, place)
        size, place = _number(block, place)
        key = key[:shared] + block[place : place + own]
        rows.append((key, block[place + own : place + own + size]))
        place += own + size
    return rows


def _handles(index: bytes, short: bool) -> list[tuple[bytes, int, int]]:
    """The (key, start, size) of each entry of an index. In a `short` one values have no length, and one that shares a
    part of its key with the entry before has only the difference in size, because its block is the next one."""
    if not short:
        return [(key, *_handle(value)) for key, value in _rows(index)]
    found = []
    key, place, end = b"", 0, _entries_end(index)
    start = size = 0
    while place < end:
        shared, place = _number(index, place)
        own, place = _number(index, place)
        key = key[:shared] + index[place : place + own]
        place += own
        if shared == 0:
            start, place = _number(index, place)
            size, place = _number(index, place)
        else:
            start += size + _TRAILER_BYTES
            zigzag, place = _number(index, place)
            size += (zigzag >> 1) ^ -(zigzag & 1)
        found.append((key, start, size))
    return found


_TRAILER_BYTES = 5


def _handle(value: bytes) -> tuple[int, int]:
    start, place = _number(value, 0)
    return start, _number(value, place)[0]


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number of varying length, and the place after it."""
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7
        if shift > 63:
            raise ValueError("a number has no end")
