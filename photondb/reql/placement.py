"""Where the shards and replicas of a table go: what `table_create` and `reconfigure` ask for, and what one node can do.

Each storage node is a server, and has the tag `default` unless it is to be emptied. The rules and texts are those of
RethinkDB's `table_generate_config`, save that each document is kept once, however many servers there are.
"""

from __future__ import annotations

from typing import Any

from photondb.datum.text import print_datum
from photondb.datum.types import type_name
from photondb.reql.errors import ErrorKind, ReqlError, logic_error, op_failed
from photondb.reql.names import check_name
from photondb.reql.parameters import INTEGER

DEFAULT_TAG = "default"
MAX_SHARDS = 64


class Placement:
    """What was asked for: the number of shards, and how many replicas go to servers with which tag."""

    __slots__ = ("nonvoting_tags", "primary_tag", "replicas", "shards")

    def __init__(self, shards: int, replicas: dict[str, int], primary_tag: str, nonvoting_tags: list[str]) -> None:
        self.shards = shards
        self.replicas = replicas
        self.primary_tag = primary_tag
        self.nonvoting_tags = nonvoting_tags

    def check(self, servers: int) -> None:
        """Raise where that cannot be done, with so many servers."""
        if not sum(self.replicas.values()):
            raise op_failed(
                "You must set `replicas` to at least one. `replicas` includes the primary replica; if there are zero "
                "replicas, there is nowhere to put the data."
            )
        if self.shards > MAX_SHARDS:
            raise op_failed(f"Maximum number of shards is {MAX_SHARDS}.")
        if not self.replicas.get(self.primary_tag):
            raise op_failed(
                f"Can't use server tag `{self.primary_tag}` for primary replicas because you specified no replicas in "
                f"server tag `{self.primary_tag}`."
            )
        for tag in self.nonvoting_tags:
            if tag not in self.replicas:
                raise op_failed(
                    f"You specified that the replicas in server tag `{tag}` should be non-voting, but you didn't "
                    f"specify a number of replicas in server tag `{tag}`."
                )
        for tag, count in sorted(self.replicas.items()):
            if count and tag != DEFAULT_TAG:
                raise op_failed(f"Could not find any servers with server tag `{tag}`.")
            if count > 1 and servers > 1:
                raise op_failed(
                    f"Can't put {count} replicas on servers with the tag `{tag}`: PhotonDB keeps one replica of each "
                    "document, on whichever of its servers. Use `replicas=1`, and `photondb backup` for copies "
                    "elsewhere."
                )
            if count > 1:
                raise op_failed(
                    f"Can't put {count} replicas on servers with the tag `{tag}` because there are only 1 servers with "
                    f"the tag `{tag}`. It's impossible to have more replicas of the data than there are servers."
                )

    def warnings(self, servers: int, *, spread: bool = False) -> list[str]:
        """What whoever asked for it should know: that a table gets fewer shards where each is to be on a server of its
        own, as those of one that is `spread` always are."""
        if self.shards <= servers or (servers == 1 and not spread):
            return []
        fewer = "1 shard" if servers == 1 else f"{servers} shards"
        return [
            f"It gets {fewer} instead of {self.shards}: of a table that is spread over storage nodes each has one, "
            "and there are no more nodes that may have any."
        ]


def read_placement(shards: int, replicas: Any, nonvoting_tags: Any, primary_tag: str | None) -> Placement:
    """The placement that optional arguments describe; `...` stands for one that is not given."""
    if shards <= 0:
        raise logic_error("Every table must have at least one shard.")
    counts = {DEFAULT_TAG: 1}
    if replicas is not ...:
        counts = _replica_counts(replicas, nonvoting_tags, primary_tag)
    tags = [] if nonvoting_tags is ... else _tags(nonvoting_tags)
    primary = DEFAULT_TAG if primary_tag is None else check_name(primary_tag, "Server tag")
    return Placement(shards, counts, primary, tags)


def _replica_counts(replicas: Any, nonvoting_tags: Any, primary_tag: str | None) -> dict[str, int]:
    assert INTEGER.convert is not None
    if type(replicas) is dict and "$reql_type$" not in replicas:
        if primary_tag is None:
            raise logic_error("`primary_replica_tag` must be specified when `replicas` is an OBJECT.")
        counts = {}
        for tag, value in sorted(replicas.items()):
            counts[check_name(tag, "Server tag")] = count = INTEGER.convert(value)
            if count < 0:
                raise logic_error("Can't have a negative number of replicas")
        return counts
    if type(replicas) is int or type(replicas) is float:
        if primary_tag is not None:
            raise logic_error("`replicas` must be an OBJECT if `primary_replica_tag` is specified.")
        if nonvoting_tags is not ...:
            raise logic_error("`replicas` must be an OBJECT if `nonvoting_replica_tags` is specified.")
        count = INTEGER.convert(replicas)
        if count < 0:
            raise logic_error("Can't have a negative number of replicas")
        return {DEFAULT_TAG: count}
    raise _wrong("OBJECT or NUMBER", replicas)


def _tags(value: Any) -> list[str]:
    if type(value) is not list:
        raise _wrong("ARRAY", value)
    for tag in value:
        if type(tag) is not str:
            raise _wrong("STRING", tag)
    return [check_name(tag, "Server tag") for tag in value]


def _wrong(expected: str, value: Any) -> ReqlError:
    return ReqlError(ErrorKind.LOGIC, f"Expected type {expected} but found {type_name(value)}:\n{print_datum(value)}")


def with_warnings(answer: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    """An answer, with `warnings` as those of writes have them where there are any."""
    return {**answer, "warnings": warnings} if warnings else answer
