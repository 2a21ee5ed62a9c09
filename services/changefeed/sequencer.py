"""Puts the records of one shard in order, whatever the bus did with them: the decisions, without the I/O.

Storage numbers a shard's records without a gap and publishes them in batches. The bus may lose batches, repeat them, or
bring them late. So a batch that does not follow what was delivered last shows a gap, and what is missing is read from
storage's log. Events are method calls; what is to be done comes back as instructions.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import msgspec

from photondb.api.storage import LogRecord

LOG_CHUNK_RECORDS = 1000
"""Records that are asked for in one read of the log."""

MAX_EARLY_RECORDS = 10_000
"""Records that are kept while those before them are fetched; further ones are read from the log, too."""


class Deliver(msgspec.Struct, frozen=True):
    """Hand on these records: the next ones, in order."""

    records: Sequence[LogRecord]


class ReadLog(msgspec.Struct, frozen=True):
    """Read up to `limit` records after `after` from the log, and report with `log_read` or `read_failed`."""

    after: int
    limit: int


class AskPosition(msgspec.Struct, frozen=True):
    """Ask storage for the sequence of the last record, and report with `position_known` or `read_failed`."""


class RetryLater(msgspec.Struct, frozen=True):
    """Storage could not be asked: call `retry_due` after a while."""


class Fail(msgspec.Struct, frozen=True):
    """The records cannot be made complete any more. Nothing follows."""

    reason: str


Instruction = Deliver | ReadLog | AskPosition | RetryLater | Fail


class ShardSequencer:
    """The state of one shard's stream of records.

    It begins with the question for the position under way, after the subscription to the bus was made: batches wait
    until `position_known` says where the stream begins. `delivered` is the sequence of the last record that was handed
    on. One read of the log, or one question for the position, is under way at a time.
    """

    def __init__(self) -> None:
        self.delivered = 0
        self._started = False
        self._failed = False
        self._busy = True
        self._known_end = 0  # the highest sequence that is known to exist
        self._asked_at = 0  # what the answer about the position must not fall short of
        self._question_due = False
        self._last_time_us: int | None = None
        self._early: list[tuple[int, int, Sequence[LogRecord]]] = []  # a heap by (first sequence, arrival)
        self._early_records = 0
        self._arrivals = 0

    @property
    def missing(self) -> int:
        """How many records are known to exist and were not handed on."""
        return self._known_end - self.delivered if self._started else 0

    def check(self) -> list[Instruction]:
        """Something may have been missed without a trace: find out."""
        if self._failed:
            return []
        if self._busy:
            self._question_due = True
            return []
        self._busy = True
        self._question_due = False
        self._asked_at = self._known_end
        return [AskPosition()]

    def batch(self, first: int, records: Sequence[LogRecord]) -> list[Instruction]:
        """A message of the bus: records from sequence `first` on. One without records says that the record
        before `first` is the last one."""
        if self._failed:
            return []
        last = first + len(records) - 1
        if not self._started:
            self._known_end = max(self._known_end, last)
            self._keep(first, records)
            return []
        if first <= self.delivered and records and self._is_new(records[min(last, self.delivered) - first].time_us):
            # A record that is repeated is no younger than what followed it. So storage has lost the end of its log (its
            # disk did not survive what its reader saw) and uses the numbers again.
            return self._fail("the log was written anew from an earlier place")
        if last <= self.delivered:
            return []
        self._known_end = max(self._known_end, last)
        if first > self.delivered + 1:
            self._keep(first, records)
            return self._fill()
        return [self._deliver(records[self.delivered + 1 - first :]), *self._drain()]

    def position_known(self, sequence: int) -> list[Instruction]:
        """The answer to AskPosition."""
        if self._failed:
            return []
        self._busy = False
        if sequence < self._asked_at:
            return self._fail("the log ends before what was read of it")
        self._known_end = max(self._known_end, sequence)
        if not self._started:
            self._started = True
            self.delivered = sequence
        return self._drain()

    def log_read(self, records: Sequence[LogRecord]) -> list[Instruction]:
        """The answer to ReadLog."""
        if self._failed:
            return []
        self._busy = False
        fresh = [record for record in records if record.sequence > self.delivered]
        if fresh:
            return [self._deliver(fresh), *self._drain()]
        if records or self.delivered >= self._known_end:
            return self._drain()
        self._busy = True
        self._question_due = True
        return [RetryLater()]

    def log_trimmed(self, oldest: int) -> list[Instruction]:
        """The answer to ReadLog where the log no longer has the records; `oldest` is the first that it has."""
        self._busy = False
        if self._failed or oldest <= self.delivered + 1:
            return self._drain()
        return self._fail(f"the log has been trimmed up to record {oldest}")

    def read_failed(self) -> list[Instruction]:
        """Storage did not answer ReadLog or AskPosition."""
        if self._failed:
            return []
        self._question_due = True
        return [RetryLater()]

    def retry_due(self) -> list[Instruction]:
        """The time of RetryLater is over."""
        self._busy = False
        return self.check() if self._question_due else self._fill()

    # --- what follows from the state

    def _is_new(self, time_us: int) -> bool:
        return self._last_time_us is not None and time_us > self._last_time_us

    def _keep(self, first: int, records: Sequence[LogRecord]) -> None:
        if records and self._early_records + len(records) <= MAX_EARLY_RECORDS:
            self._arrivals += 1
            heapq.heappush(self._early, (first, self._arrivals, records))
            self._early_records += len(records)

    def _drain(self) -> list[Instruction]:
        """Deliver what was early and has its turn now, then see what is missing still."""
        instructions: list[Instruction] = []
        while self._early and self._early[0][0] <= self.delivered + 1:
            first, _, records = heapq.heappop(self._early)
            self._early_records -= len(records)
            rest = records[self.delivered + 1 - first :]
            if rest:
                instructions.append(self._deliver(rest))
        return instructions + self._fill()

    def _fill(self) -> list[Instruction]:
        if self._failed or self._busy or not self._started:
            return []
        if self.delivered < self._known_end:
            self._busy = True
            return [ReadLog(self.delivered, LOG_CHUNK_RECORDS)]
        return self.check() if self._question_due else []

    def _deliver(self, records: Sequence[LogRecord]) -> Deliver:
        assert records[0].sequence == self.delivered + 1, "records out of order"
        self.delivered = records[-1].sequence
        self._known_end = max(self._known_end, self.delivered)
        self._last_time_us = records[-1].time_us
        return Deliver(records)

    def _fail(self, reason: str) -> list[Instruction]:
        self._failed = True
        self._early.clear()
        return [Fail(reason)]
