"""How the text of a setting becomes a value: each function raises ValueError for what is not allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from photondb.address import parse_addresses

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
OtlpProtocol = Literal["grpc", "http/protobuf"]
SamplerName = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]


def password(text: str) -> str:
    """Anything but nothing."""
    if not text:
        raise ValueError
    return text


def word(text: str) -> str:
    """A name or an address: no white space."""
    if not text or any(character.isspace() for character in text):
        raise ValueError
    return text


def path(text: str) -> Path:
    """A path in the file system, whether there is something or not."""
    if not text or "\0" in text:
        raise ValueError
    return Path(text)


def whole_number(least: int, most: int | None = None, *, or_zero: bool = False) -> Callable[[str], int]:
    """Decimal digits for a number within bounds; `or_zero` allows 0 below them, too."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            raise ValueError
        number = int(text)
        if (number < least and not (or_zero and number == 0)) or (most is not None and number > most):
            raise ValueError
        return number

    return parse


def ordinal(most: int) -> Callable[[str], int]:
    """A number from 0, alone or behind the name of a stateful set, as its pods are called: photondb-storage-2."""
    number = whole_number(0, most)

    def parse(text: str) -> int:
        return number(text.rpartition("-")[2])

    return parse


def share(text: str) -> float:
    """A part of a whole."""
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError
    return share


def boolean(text: str) -> bool:
    """Yes or no, in the usual words."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[text.lower()]
    except KeyError:
        raise ValueError from None


def one_of(*choices: str) -> Callable[[str], str]:
    """One of these words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return parse


def http_url(text: str) -> str:
    """A URL of HTTP or HTTPS."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError
    return text


def nats_url(text: str) -> str:
    """The URLs of one or more NATS servers, with commas."""
    for server in text.split(","):
        parts = urlsplit(server.strip())
        if parts.scheme not in ("nats", "tls") or not parts.hostname or parts.port == 0:
            raise ValueError
    return text


def addresses(text: str) -> str:
    """Where a service serves the others: one or more of `unix:/path` and `tcp:host:port`, with commas."""
    for address in parse_addresses(text):
        if address.path is None and address.port == 0:
            raise ValueError  # the other services could not know which port was free
    return text


def address(text: str) -> str:
    """A single one of these."""
    if "," in text:
        raise ValueError
    return addresses(text)
