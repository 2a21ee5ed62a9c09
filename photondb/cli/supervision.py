"""When to start, restart and end the processes of the suite: a state machine without processes or clocks.

Children start stage by stage, lowest first, each stage once the one before is ready; they are ended stage by stage,
highest first. A child that ends by itself is started again, after a pause that doubles with each failure in a row.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from photondb.hosting.readiness import EXIT_CONFIGURATION


@dataclass(frozen=True)
class Policy:
    """How patient the supervisor is."""

    first_pause_s: float = 0.1
    max_pause_s: float = 10.0
    # A child that was ready for this long has recovered: its next failure counts as the first.
    stable_after_s: float = 10.0
    # For the first start. It doubles with each failure in a row: what has much to recover must get there some time.
    start_timeout_s: float = 60.0
    # While the suite has not been ready yet, this many failures in a row of a child end it.
    max_failed_starts: int = 3
    # From the request to stop until what still runs is killed.
    grace_s: float = 1.5


@dataclass(frozen=True)
class Ready:
    """The child does its work now."""

    child: str


@dataclass(frozen=True)
class Exited:
    """The child ended, with this exit status, or minus the number of the signal that ended it."""

    child: str
    status: int


@dataclass(frozen=True)
class StopRequested:
    """Somebody wants the suite to end."""


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = Ready | Exited | StopRequested | Tick


@dataclass(frozen=True)
class Spawn:
    """Start the child."""

    child: str


@dataclass(frozen=True)
class Send:
    """Send the signal to the child."""

    child: str
    signal: signal.Signals


@dataclass(frozen=True)
class Announce:
    """The suite is ready: say so. Comes once."""


@dataclass(frozen=True)
class Finish:
    """All children have ended: exit with this status. `reason` is a line for the operator, unless one was shown."""

    status: int
    reason: str | None = None


Instruction = Spawn | Send | Announce | Finish


class _State(enum.Enum):
    WAITING = enum.auto()  # for its stage
    STARTING = enum.auto()
    READY = enum.auto()
    PAUSING = enum.auto()  # until it is started again
    ENDING = enum.auto()  # it was asked to
    ENDED = enum.auto()  # for good

    @property
    def runs(self) -> bool:
        return self in (_State.STARTING, _State.READY, _State.ENDING)


@dataclass
class _Child:
    name: str
    stage: int
    state: _State = _State.WAITING
    failures: int = 0
    ready_at: float = 0.0
    due: float | None = None  # when something must be done about it unless it changes state


class Supervision:
    """The decisions. `children` are pairs of name and stage; times are seconds of any clock that only goes forward."""

    def __init__(self, children: Sequence[tuple[str, int]], policy: Policy | None = None) -> None:
        self._policy = policy or Policy()
        self._children = {name: _Child(name, stage) for name, stage in children}
        self._stages = sorted({child.stage for child in self._children.values()})
        self._announced = False
        self._stopping = False
        self._kill_at: float | None = None
        self._finish = Finish(0)

    @property
    def wake_at(self) -> float | None:
        """When a `Tick` is due if no other event comes before; None for never."""
        due = [child.due for child in self._children.values() if child.due is not None]
        if self._kill_at is not None:
            due.append(self._kill_at)
        return min(due, default=None)

    def begin(self, now: float) -> list[Instruction]:
        """The first instructions."""
        return list(self._start_next_stage(now))

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """What to do about `event`. After `Finish` nothing more may be asked."""
        match event:
            case Ready(name):
                return list(self._ready(self._children[name], now))
            case Exited(name, status):
                return list(self._exited(self._children[name], status, now))
            case StopRequested():
                # Once is enough: signals often come twice, from a terminal and from a parent process.
                return [] if self._stopping else list(self._stop(now))
            case Tick():
                return list(self._tick(now))

    def _ready(self, child: _Child, now: float) -> Iterator[Instruction]:
        if child.state is not _State.STARTING:
            return  # it became ready while it was being ended
        child.state, child.ready_at, child.due = _State.READY, now, None
        if not self._announced and not self._stopping:
            yield from self._start_next_stage(now)

    def _start_next_stage(self, now: float) -> Iterator[Instruction]:
        """Go on with the start as far as the children that are ready allow."""
        for stage in self._stages:
            members = self._in_stage(stage)
            for child in members:
                if child.state is _State.WAITING:
                    yield self._spawn(child, now)
            if any(child.state is not _State.READY for child in members):
                return
        self._announced = True
        yield Announce()

    def _spawn(self, child: _Child, now: float) -> Spawn:
        timeout_s = self._policy.start_timeout_s * 2.0 ** min(child.failures, 10)
        child.state, child.due = _State.STARTING, now + timeout_s
        return Spawn(child.name)

    def _exited(self, child: _Child, status: int, now: float) -> Iterator[Instruction]:
        was_ready, child.due = child.state is _State.READY, None
        if self._stopping:
            child.state = _State.ENDED
            yield from self._end_next_stage()
            return
        if was_ready and now - child.ready_at >= self._policy.stable_after_s:
            child.failures = 0
        child.failures += 1
        if not self._announced and status == EXIT_CONFIGURATION:
            yield from self._give_up(child, None, now)  # it has told the operator why
        elif not self._announced and child.failures >= self._policy.max_failed_starts:
            reason = f"{child.name} ended {child.failures} times while the suite was starting, at last {_how(status)}"
            yield from self._give_up(child, reason, now)
        else:
            pause_s = self._policy.first_pause_s * 2.0 ** min(child.failures - 1, 32)
            child.state, child.due = _State.PAUSING, now + min(pause_s, self._policy.max_pause_s)

    def _give_up(self, child: _Child, reason: str | None, now: float) -> Iterator[Instruction]:
        child.state = _State.ENDED
        self._finish = Finish(1, reason)
        yield from self._stop(now)

    def _stop(self, now: float) -> Iterator[Instruction]:
        self._stopping = True
        self._kill_at = now + self._policy.grace_s
        for child in self._children.values():
            child.due = None
            if not child.state.runs:
                child.state = _State.ENDED
        yield from self._end_next_stage()

    def _end_next_stage(self) -> Iterator[Instruction]:
        """Ask the highest stage that still runs to end, or finish."""
        for stage in reversed(self._stages):
            running = [child for child in self._in_stage(stage) if child.state.runs]
            for child in running:
                if child.state is not _State.ENDING:
                    child.state = _State.ENDING
                    yield Send(child.name, signal.SIGTERM)
            if running:
                return
        self._kill_at = None
        yield self._finish

    def _kill_all(self) -> Iterator[Instruction]:
        self._kill_at = None
        yield from (Send(child.name, signal.SIGKILL) for child in self._children.values() if child.state.runs)

    def _tick(self, now: float) -> Iterator[Instruction]:
        if self._kill_at is not None and now >= self._kill_at:
            yield from self._kill_all()
        for child in self._children.values():
            if child.due is None or now < child.due:
                continue
            if child.state is _State.PAUSING:
                yield self._spawn(child, now)
            else:  # it should have been ready by now
                child.due = None
                yield Send(child.name, signal.SIGKILL)

    def _in_stage(self, stage: int) -> list[_Child]:
        return [child for child in self._children.values() if child.stage == stage]


def _how(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
