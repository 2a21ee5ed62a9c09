"""Where the reader of a feed stands in the table's change log, and the tokens that say so.

A position names, for each shard, the last record of which the reader has seen everything, and how many changes it has
seen of the one after it: a record can be several changes, on a multi index or where a selection has a row twice. It is
tied to the table and to the shape of the feed, because it means something to no other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from photondb.api.catalogue import TableInfo
from photondb.reql.errors import logic_error, op_failed
from photondb.reql.steps import Step
from photondb.reql.wire import Term
from services.changefeed.notices import Change
from services.changefeed.selection import Selection

FORMAT = 1
"""What tokens look like. It changes when the meaning of positions or fingerprints does."""

SHAPE_BYTES = 8

BEGIN_AGAIN = "Begin again with `include_initial`."


class _Token(msgspec.Struct, array_like=True, frozen=True):
    format: int
    table: str
    shape: bytes
    sequences: list[int]
    seen: list[int]


class Place:
    """Where a reader stands. It moves on with every change that the reader is given."""

    __slots__ = ("seen", "sequences")

    def __init__(self, sequences: Sequence[int], seen: Sequence[int] = ()) -> None:
        self.sequences = list(sequences)
        self.seen = list(seen) or [0] * len(self.sequences)

    def add_logs(self, info: TableInfo) -> None:
        """Go on with the logs that the table has got since, when it was divided anew."""
        info.add_logs(self.sequences)
        self.seen += [0] * (len(self.sequences) - len(self.seen))

    def advance(self, change: Change) -> None:
        """The reader gets this change, the next one of its shard."""
        self.sequences[change.shard] = change.sequence - 1 if change.seen else change.sequence
        self.seen[change.shard] = change.seen

    def skip_to(self, sequences: Sequence[int]) -> bool:
        """Nothing that concerns the reader is left up to `sequences`. Whether that moves it."""
        moved = False
        for shard, sequence in enumerate(sequences):
            if sequence > self.sequences[shard]:
                self.sequences[shard], self.seen[shard] = sequence, 0
                moved = True
        return moved


def _without_origin(step: Step) -> dict[str, Any]:
    """A step without what its functions know of the query that they come from: where in it they stand, for instance."""
    return {
        name: value[:2] if type(value) is list and value[:1] == [Term.FUNC] else value
        for name, value in step.to_wire().items()
    }


class TokenMaker:
    """Writes and reads the tokens of the feeds on one selection of a table."""

    def __init__(self, table_uuid: str, selection: Selection) -> None:
        self._table = table_uuid
        shape = msgspec.msgpack.encode([selection.place, [_without_origin(step) for step in selection.steps]])
        self._shape = hashlib.blake2b(shape, digest_size=SHAPE_BYTES).digest()

    def token(self, place: Place) -> bytes:
        """The token of a place: text that needs no escape in JSON."""
        token = _Token(FORMAT, self._table, self._shape, place.sequences, place.seen)
        return base64.urlsafe_b64encode(msgspec.msgpack.encode(token))

    def place(self, token: str, info: TableInfo) -> Place:
        """The place of a token in the table's logs. Raises ReqlError for one that is not of this feed."""
        try:
            raw = base64.b64decode(token, b"-_", validate=True)
            format_ = msgspec.msgpack.decode(raw, type=list[msgspec.Raw])[0]
            if msgspec.msgpack.decode(format_) != FORMAT:
                raise op_failed(f"The position was written by another version of PhotonDB. {BEGIN_AGAIN}")
            read = msgspec.msgpack.decode(raw, type=_Token)
        except (binascii.Error, ValueError, IndexError, msgspec.DecodeError):
            raise logic_error("The argument `resume` is not the position of a changefeed.") from None
        if read.table != self._table:
            raise op_failed(f"The position is one in another table. {BEGIN_AGAIN}")
        if read.shape != self._shape:
            raise op_failed(
                "The position is one of a feed of another shape: a feed goes on where another one stopped only with "
                f"the same selection, index and transformations. {BEGIN_AGAIN}"
            )
        shards = len(read.sequences)
        if not info.may_know(shards) or len(read.seen) != shards or min(*read.sequences, *read.seen) < 0:
            raise op_failed(f"The position does not fit the table's shards. {BEGIN_AGAIN}")
        place = Place(read.sequences, read.seen)
        place.add_logs(info)
        return place
