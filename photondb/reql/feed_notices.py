"""The objects that the reader of a feed sees, as JSON. Fields, types and texts are RethinkDB's, save positions."""

from __future__ import annotations

NULL = b"null"


def change_notice(old: bytes | None, new: bytes | None, include_types: bool) -> bytes:
    """A change: {"new_val", "old_val"}, null for what is not there."""
    kind = b""
    if include_types:
        kind = b',"type":"add"' if old is None else b',"type":"remove"' if new is None else b',"type":"change"'
    return b'{"new_val":%b,"old_val":%b%b}' % (new or NULL, old or NULL, kind)


def offset_notice(
    old: bytes | None, new: bytes | None, old_offset: int | None, new_offset: int | None, include_types: bool
) -> bytes:
    """A change with the places from which and to which a row went."""
    notice = change_notice(old, new, include_types)
    before = NULL if old_offset is None else b"%d" % old_offset
    after = NULL if new_offset is None else b"%d" % new_offset
    return b'{"new_offset":%b,"old_offset":%b,' % (after, before) + notice[1:]


def initial_notice(value: bytes | None, include_types: bool, offset: int | None = None) -> bytes:
    """What is there when the feed begins: {"new_val"}."""
    place = b"" if offset is None else b',"new_offset":%d' % offset
    kind = b',"type":"initial"' if include_types else b""
    return b'{"new_val":%b%b%b}' % (value or NULL, place, kind)


def with_position(notice: bytes, token: bytes) -> bytes:
    """A notice that tells its reader's position, too."""
    return b'%b,"position":"%b"}' % (notice[:-1], token)


def aggregate_notice(
    group: bytes | None, old: bytes | None, new: bytes | None, include_types: bool, initial: bool
) -> bytes:
    """A change of an aggregate, or its value when the feed begins; with its group where there are groups."""
    notice = initial_notice(new, include_types) if initial else change_notice(old, new, include_types)
    return notice if group is None else b'{"group":%b,' % group + notice[1:]


def state_notice(state: str, include_types: bool) -> bytes:
    """A change of the feed's state: `initializing` or `ready`."""
    kind = b',"type":"state"' if include_types else b""
    return b'{"state":"%b"%b}' % (state.encode(), kind)


def skipped_notice(count: int) -> bytes:
    """That `count` changes were dropped because the reader was too slow."""
    return b'{"error":"Changefeed cache over array size limit, skipped %d elements."}' % count
