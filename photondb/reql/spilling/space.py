"""The temporary files of queries: one directory for all of a service, with a limit for all of them together.

A file has no name from the moment on that it is opened, so that whatever happens to the process, nothing is left of it.
Nothing is synced: no file is for longer than its query.
"""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from photondb.reql.errors import ReqlError, resource_limit
from photondb.reql.suspend import may_wait, wait

FREE_SHARE = 2
"""Where there is no limit, temporary files leave free one part in so many of what the disk has free without them."""

WRITING_THREADS = 2
"""A disk that is busy holds up who writes. It holds up these threads, and not everybody else."""


class SpillSpace:
    """Where queries put aside what does not fit into memory: files in `directory`, of `max_bytes` together (None: half
    of what is free there). `files` and `bytes_written` count since the start, `bytes` is what there is now."""

    def __init__(self, directory: Path, max_bytes: int | None = None) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self.bytes = 0
        self.files = 0
        self.bytes_written = 0
        self._threads: ThreadPoolExecutor | None = None

    def open(self) -> SpillFile:
        """A new file. Raises a resource-limit error where there can be none."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=self.directory, buffering=0)  # noqa: SIM115 - SpillFile closes it
        except OSError as error:
            raise self.failure(error) from None
        self.files += 1
        with file:
            return SpillFile(self, os.dup(file.fileno()))

    def take(self, size: int) -> None:
        """Account for so many bytes more. Raises a resource-limit error when that is too much."""
        limit = self.max_bytes
        if limit is None:
            try:
                free = os.statvfs(self.directory)
            except OSError as error:
                raise self.failure(error) from None
            limit = (free.f_bavail * free.f_frsize + self.bytes) // FREE_SHARE
        if self.bytes + size > limit:
            raise resource_limit(
                f"Queries may put aside no more than {limit:,} bytes of what does not fit into memory on the disk of "
                f"{self.directory}: sort or group fewer rows, use an index, or raise PHOTONDB_SPILL_BYTES."
            )
        self.bytes += size
        self.bytes_written += size

    def failure(self, error: OSError) -> ReqlError:
        """What a user is told when the disk fails."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = f"No space is left on the disk of {self.directory}, where queries put"
        else:
            reason = f"The directory {self.directory} cannot be used ({error.strerror}), where queries put"
        return resource_limit(
            f"{reason} aside what does not fit into memory. Make room, or set PHOTONDB_SPILL_DIR to another directory."
        )

    def submit(self, file: SpillFile, data: bytes) -> Future[None]:
        """Write in a thread."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(WRITING_THREADS, "spill")
        return self._threads.submit(file.write, data)


class SpillFile:
    """A file that is written from its beginning to its end, and read anywhere."""

    def __init__(self, space: SpillSpace, descriptor: int) -> None:
        self.size = 0
        self._space = space
        self._descriptor = descriptor
        self._offset = 0
        self._writing: Future[None] | None = None

    def append(self, data: bytes) -> None:
        """Write at the end (inside an evaluation others go on meanwhile). Raises a resource-limit error."""
        self._space.take(len(data))
        self.size += len(data)
        try:
            if may_wait():
                self._writing = self._space.submit(self, data)
                wait(asyncio.wrap_future(self._writing))
            else:
                self.write(data)
        except OSError as error:
            raise self._space.failure(error) from None

    def write(self, data: bytes) -> None:
        """Write at the end now. Raises OSError."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, self._offset)
            self._offset += written
            rest = rest[written:]

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes from there. Raises a resource-limit error."""
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise self._space.failure(error) from None

    def close(self) -> None:
        """Give the file up. Closing twice is allowed."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        self._space.bytes -= self.size
        if self._writing is None or self._writing.done():
            os.close(descriptor)
        else:  # who wrote was ended meanwhile
            self._writing.add_done_callback(lambda _: os.close(descriptor))

    def __del__(self) -> None:
        self.close()
