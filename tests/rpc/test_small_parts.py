"""Addresses, delays and limits."""

from __future__ import annotations

import asyncio

import pytest

from photondb.rpc.address import Address
from photondb.rpc.admission import Admission
from photondb.rpc.backoff import Backoff


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/photondb/storage", Address(path="/run/photondb/storage")),
        ("unix:relative", Address(path="relative")),
        ("tcp:127.0.0.1:28102", Address(host="127.0.0.1", port=28102)),
        ("tcp:storage.example.com:1", Address(host="storage.example.com", port=1)),
        ("tcp:[::1]:0", Address(host="::1", port=0)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "unix:", "tcp:", "tcp:host", "tcp::1", "tcp:host:", "tcp:host:x", "tcp:host:65536", "tcp:host:-1"),
        *("http://x", "/run/socket", "host:1", "tcp:host:\u0661", "unix:/" + "x" * 107),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an address|at most 107 bytes"):
        Address.parse(text)


def test_delays_double_up_to_the_longest_and_start_again() -> None:
    backoff = Backoff(100, 1000, chance=lambda: 0.0)
    assert [backoff.next_delay_ms() for _ in range(6)] == [100, 200, 400, 800, 1000, 1000]
    backoff.reset()
    assert backoff.next_delay_ms() == 100


def test_delays_are_shortened_by_chance() -> None:
    assert Backoff(100, 1000, chance=lambda: 1.0).next_delay_ms() == 50
    delays = {Backoff(100, 1000).next_delay_ms() for _ in range(100)}
    assert len(delays) > 10
    assert all(50 <= delay <= 100 for delay in delays)


async def test_admission() -> None:
    admission = Admission(2)
    await admission.idle()
    assert admission.enter()
    assert admission.enter()
    assert not admission.enter()
    idle = asyncio.create_task(admission.idle())
    admission.leave()
    assert admission.enter()
    admission.leave()
    await asyncio.sleep(0)
    assert not idle.done()
    admission.leave()
    await idle
    assert admission.in_flight == 0
