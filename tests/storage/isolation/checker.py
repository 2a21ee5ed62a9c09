"""Finds what a history has that its level of isolation excludes.

The definitions are those of A. Adya, "Weak Consistency: A Generalized Theory and Optimistic Implementations for
Distributed Transactions" (MIT, 1999). Transactions that depend on each other make a graph with three kinds of edges:

- ww: the second has replaced a version that the first has written;
- wr: the second has read what the first has written;
- rw: the first has read a version (or, by a condition, has not found a document) that the second has replaced.

=========== ========================================================= ============ ========
anomaly     what it is                                                serializable snapshot
=========== ========================================================= ============ ========
G0          a cycle of ww                                             excluded     excluded
G1a         a version of an aborted transaction was read              excluded     excluded
G1b         a version was read that its writer has replaced itself    excluded     excluded
G1c         a cycle of ww and wr                                      excluded     excluded
dirty read  a version was read before its writer wanted to commit     excluded     excluded
internal    a transaction does not see its own writes, or sees        excluded     excluded
            something else when it reads a second time
lost update two transactions have replaced the same version that      excluded     excluded
            both have read
G-single    a cycle with one rw                                       excluded     excluded
G-SI        a cycle in which no rw follows another                    excluded     excluded
G2          any cycle (with two rw next to each other: write skew)    excluded     allowed
=========== ========================================================= ============ ========
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from photondb.api.transactions import Isolation
from tests.storage.isolation.history import Content, History, Key, Read, Transaction, Version, Write

Graph = Mapping[str, set[str]]


class Anomaly(NamedTuple):
    """Something that must not be. `phenomenon` is its name in the table above."""

    phenomenon: str
    what: str


def check(history: History, level: Isolation) -> list[Anomaly]:
    """What the history has that `level` excludes."""
    return _Checker(history).run(level)


class _Checker:
    def __init__(self, history: History) -> None:
        self.history = history
        self.anomalies: list[Anomaly] = []
        self.committed = [one for one in history.transactions if one.status == "committed"]
        self.writers: dict[Version, Transaction] = {}
        self.contents: dict[Version, Content | None] = {}
        self.last: set[Version] = set()
        for transaction in history.transactions:
            for operation in transaction.operations:
                if isinstance(operation, Write):
                    self.writers[operation.version] = transaction
                    self.contents[operation.version] = operation.content
            self.last.update(write.version for write in transaction.last_writes().values())
        self.places = {version: place for order in history.versions.values() for place, version in enumerate(order)}
        self.ww: dict[str, set[str]] = defaultdict(set)
        self.wr: dict[str, set[str]] = defaultdict(set)
        self.rw: dict[str, set[str]] = defaultdict(set)

    def run(self, level: Isolation) -> list[Anomaly]:
        for order in self.history.versions.values():
            for before, after in itertools.pairwise(order):
                self._edge(self.ww, self.writers[before], self.writers[after])
        for transaction in self.committed:
            self._check_inside(transaction)
            for read in transaction.reads():
                self._take_read(transaction, read)
        self._check_lost_updates()
        dependencies = _union(self.ww, self.wr)
        self._cycles("G0", self.ww)
        self._cycles("G1c", dependencies)
        self._single(dependencies)
        # An edge of this graph is a dependency, or an rw and the dependency after it: none of its cycles has two rw
        # next to each other.
        spaced: dict[str, set[str]] = defaultdict(set)
        for name, others in dependencies.items():
            spaced[name] |= others
        for name, others in self.rw.items():
            for other in others:
                spaced[name] |= dependencies.get(other, set())
        self._cycles("G-SI", spaced)
        if level == "serializable":
            self._cycles("G2", _union(dependencies, self.rw))
        return self.anomalies

    def _found(self, phenomenon: str, what: str) -> None:
        self.anomalies.append(Anomaly(phenomenon, what))

    @staticmethod
    def _edge(graph: dict[str, set[str]], first: Transaction, second: Transaction) -> None:
        if first is not second:
            graph[first.name].add(second.name)

    # --- reads

    def _take_read(self, transaction: Transaction, read: Read) -> None:
        for key in read.keys:
            version = read.found.get(key)
            if version is not None:
                self._take_version(transaction, read, key, version)
            elif key not in self._written_before(transaction, read):
                self._take_absence(transaction, read, key)

    def _take_version(self, transaction: Transaction, read: Read, key: Key, version: Version) -> None:
        writer = self.writers.get(version)
        if writer is None:
            self._found("G1a", f"{transaction.name} read {version} of {key}, which nobody has written")
            return
        if writer is transaction:
            return
        if writer.status == "aborted":
            self._found("G1a", f"{transaction.name} read {version} of {key}, of the aborted {writer.name}")
            return
        if writer.ending_at is None or read.at < writer.ending_at:
            self._found("dirty read", f"{transaction.name} read {version} of {key} before {writer.name} committed")
        if version not in self.last:
            self._found("G1b", f"{transaction.name} read {version} of {key}, which {writer.name} replaced itself")
        if version not in self.places:
            return
        self._edge(self.wr, writer, transaction)
        order = self.history.versions[key]
        place = self.places[version]
        if place + 1 < len(order):
            self._edge(self.rw, transaction, self.writers[order[place + 1]])

    def _take_absence(self, transaction: Transaction, read: Read, key: Key) -> None:
        """The document did not meet the condition. Which of its versions was looked at is known only in part: one that
        does not meet it. So what comes after the last of these came after the read."""
        order = self.history.versions.get(key, [])
        misses = [place for place, version in enumerate(order) if not read.wants(self.contents[version])]
        last_miss = misses[-1] if misses else -1
        after = last_miss + 1
        if after < len(order):
            self._edge(self.rw, transaction, self.writers[order[after]])

    @staticmethod
    def _written_before(transaction: Transaction, read: Read) -> set[Key]:
        """The documents that the transaction had written itself when it read."""
        written = set()
        for operation in transaction.operations:
            if operation is read:
                break
            if isinstance(operation, Write):
                written.add(operation.key)
        return written

    # --- inside one transaction

    def _check_inside(self, transaction: Transaction) -> None:
        own: dict[Key, Write] = {}
        seen: dict[Key, Version] = {}
        missed: dict[tuple[Key, int | None], bool] = {}
        for operation in transaction.operations:
            if isinstance(operation, Write):
                own[operation.key] = operation
                continue
            for key in operation.keys:
                version = operation.found.get(key)
                if key in own:
                    expected = own[key].version if operation.wants(own[key].content) else None
                    if version != expected:
                        self._found("internal", f"{transaction.name} read {version} of {key} after writing {expected}")
                elif version is not None:
                    content = self.contents.get(version)
                    wanted = {before for (one, before), was in missed.items() if one == key and was}
                    if seen.setdefault(key, version) != version:
                        self._found("internal", f"{transaction.name} read {seen[key]} of {key}, then {version}")
                    elif any(Read((key,), {}, group).wants(content) for group in wanted):
                        self._found("internal", f"{transaction.name} did not find {key}, then read {version}")
                else:
                    missed[key, operation.group] = True
                    if key in seen and operation.wants(self.contents.get(seen[key])):
                        self._found("internal", f"{transaction.name} read {seen[key]} of {key}, then did not find it")

    def _check_lost_updates(self) -> None:
        replaced: dict[tuple[Key, Version], list[str]] = defaultdict(list)
        for transaction in self.committed:
            written = transaction.last_writes()
            read = {(key, version) for one in transaction.reads() for key, version in one.found.items()}
            for key, version in read:
                if key in written and self.writers.get(version) is not transaction:
                    replaced[key, version].append(transaction.name)
        for (key, version), names in replaced.items():
            if len(names) > 1:
                self._found("lost update", f"{' and '.join(names)} have all replaced {version} of {key}")

    # --- cycles

    def _cycles(self, phenomenon: str, graph: Graph) -> None:
        for component in components(graph):
            self._found(phenomenon, f"a cycle through {', '.join(sorted(component))}")

    def _single(self, dependencies: Graph) -> None:
        for name, others in self.rw.items():
            for other in others:
                if name in reachable(dependencies, other):
                    self._found("G-single", f"{name} has not seen {other}, which comes before it")


def _union(*graphs: Graph) -> dict[str, set[str]]:
    united: dict[str, set[str]] = defaultdict(set)
    for graph in graphs:
        for name, others in graph.items():
            united[name] |= others
    return united


def reachable(graph: Graph, start: str) -> set[str]:
    """What can be reached from a node, with itself."""
    found = {start}
    waiting = [start]
    while waiting:
        for other in graph.get(waiting.pop(), ()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def components(graph: Graph) -> list[set[str]]:
    """The strongly connected components of more than one node: where the cycles are."""
    order: list[str] = []
    seen: set[str] = set()
    for start in graph:
        if start in seen:
            continue
        seen.add(start)
        path = [(start, iter(sorted(graph.get(start, ()))))]
        while path:
            name, others = path[-1]
            following = next((other for other in others if other not in seen), None)
            if following is None:
                order.append(name)
                path.pop()
            else:
                seen.add(following)
                path.append((following, iter(sorted(graph.get(following, ())))))
    backwards: dict[str, set[str]] = defaultdict(set)
    for name, others_of in graph.items():
        for other in others_of:
            backwards[other].add(name)
    found: list[set[str]] = []
    assigned: set[str] = set()
    for name in reversed(order):
        if name in assigned:
            continue
        component = _unassigned(backwards, name, assigned)
        assigned |= component
        if len(component) > 1:
            found.append(component)
    return found


def _unassigned(graph: Graph, start: str, assigned: Iterable[str]) -> set[str]:
    blocked = set(assigned)
    found = {start}
    waiting = [start]
    while waiting:
        for other in graph.get(waiting.pop(), ()):
            if other not in found and other not in blocked:
                found.add(other)
                waiting.append(other)
    return found
