"""What a bus does, whichever kind it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from photondb.telemetry.scrape import Scrape


class Content(Protocol):
    """What can be published as it is: it is made bytes only where it has to leave the process. Nobody may change it."""

    @property
    def size(self) -> int:
        """About how many bytes it comes to."""
        ...

    def encode(self) -> bytes:
        """The payload that says the same."""
        ...


class BusMessage(msgspec.Struct, frozen=True):
    """A message as it reaches a subscriber. `headers` is empty where the publisher gave none. `content` is the payload,
    or what the publisher gave in its place where it is in the same process."""

    subject: str
    content: bytes | Content
    headers: Mapping[str, str]

    @property
    def payload(self) -> bytes:
        """The content as bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.encode()


Handler = Callable[[BusMessage], None]
"""What a subscriber does with a message. It must not block: the loop waits for it."""

GapListener = Callable[[], None]
"""What is done when messages may have been lost."""


class Subscription(Protocol):
    async def close(self) -> None:
        """End the subscription. The handler is not called any more once this was called."""
        ...


class Bus(Protocol):
    """Publish and subscribe, as fast as it goes and no safer: a bus may lose messages, and a publisher never waits.

    So that nothing is lost to its readers all the same, messages carry sequence numbers, and a reader who sees a gap
    reads the missing ones from their source. Messages of one publisher on one subject arrive in order. Subjects are
    words joined by dots; a pattern may use `*` for one word and, at its end, `>` for one or more. All methods belong
    on the thread of the loop.

    `message_interval_s` is how far apart messages had better be where one can say what several would: 0 where a message
    costs next to nothing by itself.
    """

    message_interval_s: float

    async def publish(self, subject: str, content: bytes | Content, headers: Mapping[str, str] | None = None) -> None:
        """The same as `publish_nowait`; it returns without waiting for anybody."""
        ...

    def publish_nowait(self, subject: str, content: bytes | Content, headers: Mapping[str, str] | None = None) -> None:
        """Send a message to those who subscribe to its subject now. Raises ValueError for a malformed subject."""
        ...

    def has_subscribers(self, subject: str) -> bool:
        """False only where it is certain that nobody would get a message, so that it need not even be made."""
        ...

    async def subscribe(self, pattern: str, handler: Handler) -> Subscription:
        """Call `handler` with every message whose subject matches, in the order in which they arrive.

        Messages published, by whomever, after this returns are seen. An exception of the handler is logged and has no
        other effect. Raises ValueError for a malformed pattern.
        """
        ...

    def on_gap(self, listener: GapListener) -> None:
        """Call `listener` whenever messages to or from this bus may have been lost, and the bus works again.

        A publisher then announces its position anew, since readers cannot see that the last message is missing, and
        a reader asks the source for what it may have missed.
        """
        ...

    def collect(self, service: str, scrape: Scrape) -> None:
        """Write what is counted into a reading, as figures of the process called `service`."""
        ...

    async def close(self) -> None:
        """Send what is waiting to be sent, as far as that goes at once, and end all subscriptions."""
        ...
