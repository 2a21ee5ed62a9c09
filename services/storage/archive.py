"""What a backup is on disk: a directory of compressed files, and a manifest that is written last.

A full backup has the files of a checkpoint of the store. An incremental one has one file, `changes`: the catalogue, and
the change-log records since its base. All are compressed with zstd; the manifest has a checksum of each, and of itself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Literal

import msgspec
import zstandard

from photondb.config import StartupError

FORMAT = 1
MANIFEST = "manifest.json"
CHANGES = "changes"
SUFFIX = ".zst"
LEVEL = 3
"""zstd's own default: it keeps up with the disks that it writes to."""

PIECE_BYTES = 1 << 20

_ROW = Struct(">II")
"""Lengths of a key and of its value, which follow."""

Progress = Callable[[int], None]
"""Told of bytes that were dealt with, as they are."""


class BackupFile(msgspec.Struct, frozen=True):
    """A file of a backup: its name without suffix, its size before compression, its size and SHA-256 on disk."""

    name: str
    size: int
    stored_size: int
    sha256: str


class Mark(msgspec.Struct, frozen=True):
    """How far a table's change log goes in a backup: the last record's number and time."""

    sequence: int
    time_us: int


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. `taken_us` is a time (microseconds since 1970) up to which it has everything, `base` the id
    of the backup that an incremental one goes on from, and `marks` are by table id."""

    kind: Literal["full", "incremental"]
    id: str
    node_id: str
    taken_us: int
    marks: dict[int, Mark]
    files: list[BackupFile]
    base: str | None = None
    format: int = FORMAT


class BackupDamaged(StartupError):
    """A backup is not what it was when it was made."""


class _Sealed(msgspec.Struct):
    manifest: msgspec.Raw
    sha256: str


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Complete a backup: until this is done there is none. Everything is on the disk when it returns."""
    raw = msgspec.json.encode(manifest)
    sealed = msgspec.json.encode(_Sealed(msgspec.Raw(raw), hashlib.sha256(raw).hexdigest()))
    temporary = directory / (MANIFEST + ".new")
    with temporary.open("wb") as file:
        file.write(sealed)
        _sync(file)
    temporary.rename(directory / MANIFEST)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a backup. Raises StartupError when there is none, and BackupDamaged when it is not sound."""
    try:
        sealed = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=_Sealed)
        if hashlib.sha256(sealed.manifest).hexdigest() != sealed.sha256:
            raise BackupDamaged(f"the backup {directory} is damaged: the checksum of its manifest is wrong")
        manifest = msgspec.json.decode(sealed.manifest, type=Manifest)
    except (FileNotFoundError, NotADirectoryError):
        raise StartupError(f"{directory} is no backup, or one that was not completed") from None
    except OSError as error:
        raise StartupError(f"the backup {directory} cannot be read: {error.strerror}") from None
    except msgspec.MsgspecError:
        raise BackupDamaged(f"the backup {directory} is damaged: its manifest cannot be read") from None
    if manifest.format != FORMAT:
        raise StartupError(f"the backup {directory} was made by another version of PhotonDB")
    return manifest


class Writer:
    """Writes one compressed file of a backup."""

    def __init__(self, directory: Path, name: str) -> None:
        self._name = name
        self._file = (directory / (name + SUFFIX)).open("xb")
        self._compressor = zstandard.ZstdCompressor(LEVEL).compressobj()
        self._hash = hashlib.sha256()
        self._size = self._stored = 0

    def write(self, data: bytes) -> None:
        """Add some bytes."""
        self._size += len(data)
        self._store(self._compressor.compress(data))

    def write_row(self, key: bytes, value: bytes) -> None:
        """Add a row, for `read_rows`."""
        self.write(_ROW.pack(len(key), len(value)) + key + value)

    def finish(self) -> BackupFile:
        """Write the rest, wait for the disk, and say what it came to."""
        self._store(self._compressor.flush())
        with self._file:
            _sync(self._file)
        return BackupFile(self._name, self._size, self._stored, self._hash.hexdigest())

    def _store(self, data: bytes) -> None:
        self._stored += len(data)
        self._hash.update(data)
        self._file.write(data)


def verify(directory: Path, manifest: Manifest, progress: Progress) -> None:
    """Read all files of a backup, and compare their checksums. Raises BackupDamaged; progress is in stored bytes."""
    for file in manifest.files:
        found = hashlib.sha256()
        size = 0
        with _open(directory, file) as stored:
            while piece := stored.read(PIECE_BYTES):
                found.update(piece)
                size += len(piece)
                progress(len(piece))
        if size != file.stored_size or found.hexdigest() != file.sha256:
            raise BackupDamaged(f"the backup {directory} is damaged: {file.name}{SUFFIX} is not what was written")


def extract(directory: Path, file: BackupFile, target: Path) -> None:
    """Write the contents of a verified file to `target`. Raises BackupDamaged."""
    with target.open("xb") as out:
        for piece in _pieces(directory, file):
            out.write(piece)
        _sync(out)
        if out.tell() != file.size:
            raise BackupDamaged(f"the backup {directory} is damaged: {file.name}{SUFFIX} is cut short")


def read_rows(directory: Path, file: BackupFile) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a verified file. Raises BackupDamaged."""
    buffer = bytearray()
    for piece in _pieces(directory, file):
        buffer += piece
        start = 0
        while len(buffer) - start >= _ROW.size:
            key_size, value_size = _ROW.unpack_from(buffer, start)
            middle = start + _ROW.size + key_size
            if len(buffer) < middle + value_size:
                break
            yield bytes(buffer[start + _ROW.size : middle]), bytes(buffer[middle : middle + value_size])
            start = middle + value_size
        del buffer[:start]
    if buffer:
        raise BackupDamaged(f"the backup {directory} is damaged: {file.name}{SUFFIX} is cut short")


def _pieces(directory: Path, file: BackupFile) -> Iterator[bytes]:
    with _open(directory, file) as stored:
        try:
            yield from zstandard.ZstdDecompressor().read_to_iter(stored, write_size=PIECE_BYTES)
        except zstandard.ZstdError:
            raise BackupDamaged(f"the backup {directory} is damaged: {file.name}{SUFFIX} cannot be read") from None


def _open(directory: Path, file: BackupFile) -> BinaryIO:
    try:
        return (directory / (file.name + SUFFIX)).open("rb")
    except FileNotFoundError:
        raise BackupDamaged(f"the backup {directory} is damaged: {file.name}{SUFFIX} is missing") from None


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
