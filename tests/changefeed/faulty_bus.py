"""A bus that can be told to lose, repeat, reorder and delay messages."""

from __future__ import annotations

import random
from collections.abc import Mapping

from photondb.bus import Content, LocalBus


class FaultyBus(LocalBus):
    """The bus inside one process, with faults in what it carries about changes.

    `choose` decides at random; without it the bus behaves, unless it is `cut`: then it loses everything.
    """

    def __init__(self, choose: random.Random | None = None) -> None:
        super().__init__()
        self.choose = choose
        # Without faults messages are not to wait for one another, so that what there is has come after a few turns.
        self.message_interval_s = 0.0 if choose is None else choose.choice([0.0, 0.001, 0.01])
        self.cut = False
        self.lost = 0
        self._held: list[tuple[str, bytes | Content]] = []

    def publish_nowait(self, subject: str, content: bytes | Content, headers: Mapping[str, str] | None = None) -> None:
        if not subject.startswith("photondb.changes."):
            super().publish_nowait(subject, content, headers)
        elif self.cut:
            self.lost += 1
        elif self.choose is None:
            super().publish_nowait(subject, content)
        else:
            self._misbehave(self.choose, subject, content)

    def _misbehave(self, choose: random.Random, subject: str, content: bytes | Content) -> None:
        for _ in range(choose.choice([0, 1, 1, 1, 2])):
            self._held.insert(choose.randint(0, len(self._held)), (subject, content))
        while self._held and choose.random() < 0.7:
            super().publish_nowait(*self._held.pop(0))
