"""Changefeeds: `changes`."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import Any

import msgspec

from photondb.api.catalogue import TableInfo
from photondb.api.changefeed import DEFAULT_GROUP_TIMEOUT_S, DEFAULT_QUEUE_SIZE, FeedRequest
from photondb.api.storage import KeyRange
from photondb.datum.keys import primary_key
from photondb.datum.text import print_datum
from photondb.datum.types import type_name
from photondb.reql.equality_join import JoinedSource
from photondb.reql.errors import ErrorKind, ReqlError, logic_error
from photondb.reql.feed_streams import FeedSource, MergedSource, united_notes
from photondb.reql.geo_steps import IntersectingStep
from photondb.reql.join_feeds import JoinFeedSource
from photondb.reql.parameters import Datum, Number, Runtime, Time, Value
from photondb.reql.runtime import ABSENT_INDEX_ID
from photondb.reql.scan_source import ScanSource
from photondb.reql.sources import SlicedSource, UnionSource
from photondb.reql.steps import ConcatMapStep, FilterStep, LocalStep, Step, ZipStep
from photondb.reql.stream import Stream, table_stream
from photondb.reql.system_tables import is_system
from photondb.reql.values import SingleSelection, as_sequence
from photondb.reql.wire import ResponseNote

MAX_GROUP_TIMEOUT_S = 86_400
"""How long a consumer of a group may be given for what it has."""

EAGER = "Cannot call `changes` on an eager stream."


def changes(
    runtime: Runtime,
    value: Value,
    *,
    squash: Datum = False,
    changefeed_queue_size: int = DEFAULT_QUEUE_SIZE,
    include_initial: bool = False,
    include_offsets: bool = False,
    include_states: bool = False,
    include_types: bool = False,
    include_position: bool = False,
    resume: str | None = None,
    since: Time | None = None,
    group: str | None = None,
    group_timeout: Number = DEFAULT_GROUP_TIMEOUT_S,
) -> Stream:
    """The changes of a selection, as they happen, for ever: objects with `old_val` and `new_val`. `squash` makes
    several changes of a row one while the client is busy, or for so many seconds; `changefeed_queue_size` bounds how
    many wait for the client; `include_position` makes changes tell where they stand in the table's log, so that with
    `resume` another feed goes on after one of them; `since` begins with what was committed at that time; with a `group`
    each change goes to one of those who use that name, and to another one when it is not acknowledged within
    `group_timeout` seconds. The others add what is there at the beginning, and fields and objects that tell more."""
    check_squash(squash)
    if changefeed_queue_size < 1:
        raise logic_error(f"Illegal changefeed queue size `{changefeed_queue_size}`.  (Must be >= 1.)")
    _check_beginning(include_initial, resume, since)
    if include_position and squash is not False:
        raise logic_error("A change that `squash` made of several has no position.")
    positions = include_position or resume is not None or since is not None
    if isinstance(value, Stream) and isinstance(value.source, JoinedSource):
        if include_offsets or positions or group is not None:
            raise logic_error("A feed on a join has neither offsets nor a position, and cannot be shared by a group.")
        wanted = (squash, changefeed_queue_size, include_initial, include_states, include_types)
        return _open_join(runtime, value, value.source, *wanted)
    include_states = include_states or include_position  # the first position is that of the state `ready`
    watched = _watched(runtime, value)
    if group is not None:
        others = include_initial or include_states or include_offsets or squash is not False or positions
        _check_group(watched, group, group_timeout, others)
    if len(watched) != 1 and positions:
        raise logic_error(
            "A feed on several selections has no position. Call `changes` on each of them to use `include_position`, "
            "`resume` or `since`."
        )
    streams = []
    for info, request in watched:
        check_request(runtime, request, include_offsets, positions)
        request.squash = squash
        request.queue_size = changefeed_queue_size
        request.include_initial = include_initial
        request.include_offsets = include_offsets
        request.include_states = include_states
        request.include_types = include_types
        request.include_position = include_position
        request.resume = resume
        request.since_us = None if since is None else max(0, round(since["epoch_time"] * 1_000_000))
        request.group = group
        request.group_timeout_s = group_timeout
        source = FeedSource(runtime.open_feed(info, request))
        notes = {_kind(request), *([ResponseNote.INCLUDES_STATES] if include_states else [])}
        streams.append(Stream(source, infinite=True, feed=frozenset(notes)))
    if len(streams) == 1:
        return streams[0]
    merged = MergedSource(streams, one_state=include_states)
    return Stream(merged, infinite=True, feed=united_notes([stream.feed for stream in streams]))


def _open_join(
    runtime: Runtime,
    stream: Stream,
    source: JoinedSource,
    squash: Any,
    queue_size: int,
    include_initial: bool,
    include_states: bool,
    include_types: bool,
) -> Stream:
    """The changes of the pairs of a join: a feed on each side."""
    stream.check_ungrouped()
    for step in stream.steps:
        if not isinstance(step, ZipStep):
            _check_step(step)
    left = as_sequence(source.left)
    if type(left) is list:
        raise logic_error(EAGER)
    watched = watched_stream(runtime, left)  # type: ignore[arg-type]
    if len(watched) != 1:
        raise logic_error("Cannot call `changes` on the join of a union.")
    ((info, request),) = watched
    check_request(runtime, request, include_offsets=False, positions=False)
    request.squash = squash
    request.queue_size = queue_size
    request.include_initial = request.include_states = True
    right = source.join.right
    everything = FeedRequest(right.id, right.uuid, ranges=(KeyRange(),), squash=True, queue_size=queue_size)
    feeds = JoinFeedSource(
        runtime,
        source.join,
        stream.steps,
        right=runtime.open_feed(right, everything),
        left=runtime.open_feed(info, request),
        include_initial=include_initial,
        include_states=include_states,
        include_types=include_types,
    )
    notes = {ResponseNote.SEQUENCE_FEED, *([ResponseNote.INCLUDES_STATES] if include_states else [])}
    return Stream(feeds, infinite=True, feed=frozenset(notes))


def check_squash(squash: Any) -> None:
    """Raise for what `squash` cannot be."""
    if type(squash) is bool:
        return
    if type(squash) not in (int, float):
        raise logic_error(f"Expected BOOL or NUMBER but found {type_name(squash)}.").blame("squash")
    if squash < 0:
        raise logic_error("Expected BOOL or a positive NUMBER but found a negative NUMBER.").blame("squash")


def _check_beginning(include_initial: bool, resume: str | None, since: Any) -> None:
    chosen = [("include_initial", include_initial), ("resume", resume is not None), ("since", since is not None)]
    names = [f"`{name}`" for name, given in chosen if given]
    if len(names) > 1:
        raise logic_error(f"A feed has one beginning: {' and '.join(names)} cannot be combined.")


def _check_group(watched: SequenceOf[Watched], group: str, timeout_s: float, others: bool) -> None:
    if not group:
        raise logic_error("The name of a group cannot be empty.").blame("group")
    if not 0 < timeout_s <= MAX_GROUP_TIMEOUT_S:
        message = f"Expected a number of seconds up to {MAX_GROUP_TIMEOUT_S} but found {print_datum(timeout_s)}."
        raise logic_error(message).blame("group_timeout")
    if any(is_system(info) for info, _ in watched):
        raise logic_error("A group cannot share a feed on a system table: there is no log of its changes.")
    if others:
        raise logic_error(
            "A group is told of changes from its first use on, each as it was. Of the other options only "
            "`include_types`, `group_timeout` and `changefeed_queue_size` can be combined with `group`."
        )
    if len(watched) != 1:
        raise logic_error("A group cannot share a feed on several selections. Call `changes` on each of them.")
    if watched[0][1].limit is not None:
        raise logic_error(
            "A group cannot share a feed on the first rows of an order (`order_by` with `limit`, `min`, `max`)."
        )


def _kind(request: FeedRequest) -> ResponseNote:
    if request.key is not None:
        return ResponseNote.ATOM_FEED
    return ResponseNote.SEQUENCE_FEED if request.limit is None else ResponseNote.ORDER_BY_LIMIT_FEED


# --- what is watched

Watched = tuple[TableInfo, FeedRequest]


def _watched(runtime: Runtime, value: Any) -> list[Watched]:
    """The tables, and what of them, that the changes of a value are those of."""
    if type(value) is SingleSelection:
        if value.first_of is None:
            key = primary_key(value.key)
            return [(value.info, FeedRequest(value.info.id, value.info.uuid, key=key))]
        ((info, request),) = watched_stream(runtime, table_stream(value.first_of))
        request.limit = 1
        return [(info, request)]
    sequence = as_sequence(value)
    if type(sequence) is list:
        raise logic_error(EAGER)
    return watched_stream(runtime, sequence)  # type: ignore[arg-type]


def watched_stream(runtime: Runtime, stream: Stream) -> list[Watched]:
    """The tables, and what of them, that the changes of a stream are those of. Raises where it has none."""
    if stream.grouping is not None:
        raise logic_error("Cannot call `changes` after `group`.")
    source = stream.source
    if isinstance(source, ScanSource):
        index = source.index
        if index is not None and index.id == ABSENT_INDEX_ID:
            raise runtime.no_index(source.info, index.name)
        if index is not None and index.geo:
            return [(source.info, _geo_request(source.info, stream.steps))]
        request = FeedRequest(
            source.info.id,
            source.info.uuid,
            index=None if index is None else index.id,
            ranges=source.ranges,
            steps=stream.steps,
            descending=source.descending,
        )
        return [(source.info, request)]
    if isinstance(source, UnionSource):
        return [
            found
            for part in source.streams
            for found in watched_stream(runtime, Stream(part.source, steps=(*part.steps, *stream.steps)))
        ]
    if isinstance(source, SlicedSource):
        return [_watched_slice(runtime, source, stream.steps)]
    raise logic_error(EAGER)


def _geo_request(info: TableInfo, steps: SequenceOf[Step]) -> FeedRequest:
    """A feed on what a geo index finds. Its cells only come close, so it is on all documents, and the step that
    compares shapes chooses among them; a document that has several that match is one row."""
    once = [
        IntersectingStep(step.values, step.geometry, once=True) if isinstance(step, IntersectingStep) else step
        for step in steps
    ]
    return FeedRequest(info.id, info.uuid, ranges=(KeyRange(),), steps=once)


def _watched_slice(runtime: Runtime, source: SlicedSource, steps: SequenceOf[Step]) -> Watched:
    """The first rows of a selection. A filter that follows counts as one that comes before, as in RethinkDB."""
    if not all(type(step) is FilterStep for step in steps):
        raise logic_error(
            "Changefeeds are not supported on queries that have a transformation following a `limit` term.  "
            "Transformations include terms such as `filter`, `map`, `pluck`, etc.  Consider moving the transformation "
            "before the `limit` term."
        )
    if source.skip or source.count is None:
        raise logic_error(EAGER)
    watched = watched_stream(runtime, source.stream)
    if len(watched) != 1:
        raise logic_error("Cannot call `changes` on a slice of a union.")
    ((info, request),) = watched
    if request.limit is not None:
        raise logic_error(EAGER)
    scan = source.stream.source
    if not isinstance(scan, ScanSource) or not scan.ordered:
        raise logic_error("Cannot get changes on the first elements of an unordered stream.")
    return info, msgspec.structs.replace(request, limit=source.count, steps=(*request.steps, *steps))


def check_request(runtime: Runtime, request: FeedRequest, include_offsets: bool, positions: bool) -> None:
    """Raise for a feed that cannot be."""
    for step in request.steps:
        _check_step(step)
    if request.limit is not None and request.limit > runtime.array_limit:
        raise ReqlError(
            ErrorKind.RESOURCE_LIMIT,
            f"Array size limit `{runtime.array_limit}` exceeded.  "
            "(`.limit(X).changes()` is illegal if X is larger than the array size limit.)",
        )
    if include_offsets and request.limit is None:
        kind = "point" if request.key is not None else "range" if request.ranges else "empty"
        raise logic_error(f"Cannot include offsets for {kind} subs.")
    if request.limit is not None and positions:
        raise logic_error(
            "A feed on the first rows of an order (`order_by` with `limit`, `min`, `max`) has no position, because "
            "what it tells depends on more than the changes after it. Begin again with `include_initial`."
        )


def _check_step(step: Step) -> None:
    if isinstance(step, LocalStep):
        raise logic_error(EAGER)
    if isinstance(step, ZipStep):
        raise logic_error("Cannot call `changes` after `zip`.")
    if isinstance(step, ConcatMapStep):
        raise logic_error("Cannot call `changes` after `concat_map`.")
    if not step.pushable:
        raise logic_error("Cannot call `changes` after a non-deterministic function.")
