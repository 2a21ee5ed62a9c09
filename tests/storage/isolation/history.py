"""What happened in a run of concurrent transactions, as the checker needs to know it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Key = tuple[str, int]
"""A document: its table and its number."""

Version = str
"""The mark of one write. No two writes have the same one."""

Status = Literal["committed", "aborted", "unknown"]


@dataclass
class Content:
    """What a write left in a document: a value that queries can ask for."""

    group: int


@dataclass
class Read:
    """All documents that meet a condition were read: `found` are those that did, with the version of each.

    `keys` are the documents that the condition can be about; with a `group` only those in that group meet it.
    `at` is when the result was there, by the history's clock.
    """

    keys: tuple[Key, ...]
    found: dict[Key, Version]
    group: int | None = None
    at: int = 0

    def wants(self, content: Content | None) -> bool:
        """Whether a document with such a content meets the condition. None is no document."""
        return content is not None and (self.group is None or content.group == self.group)


@dataclass
class Write:
    """A document was written, or (with no content) deleted."""

    key: Key
    version: Version
    content: Content | None


@dataclass
class Transaction:
    """One transaction with what it did, in order. `ending_at` is when it asked to be committed."""

    name: str
    operations: list[Read | Write] = field(default_factory=list)
    status: Status = "unknown"
    ending_at: int | None = None

    def reads(self) -> Iterator[Read]:
        return (operation for operation in self.operations if isinstance(operation, Read))

    def last_writes(self) -> dict[Key, Write]:
        """The last write of each document."""
        return {operation.key: operation for operation in self.operations if isinstance(operation, Write)}


@dataclass
class History:
    """All transactions, and the versions that each document has had, in the order in which they were committed. What is
    before the first version is no document."""

    transactions: list[Transaction] = field(default_factory=list)
    versions: dict[Key, list[Version]] = field(default_factory=dict)
