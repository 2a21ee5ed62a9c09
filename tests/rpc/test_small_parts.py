"""Addresses, delays and limits."""

from __future__ import annotations

import asyncio

import pytest

from photondb.address import Address
from photondb.rpc.admission import Admission
from photondb.rpc.backoff import Backoff
from photondb.rpc.endpoints import Endpoints


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


async def test_connections_go_where_the_fewest_are_and_last_where_one_failed() -> None:
    endpoints = Endpoints("unix:/a, unix:/b")
    a, b = await endpoints.instances()
    first, second = await endpoints.take(), await endpoints.take()
    assert {first, second} == {a, b}
    endpoints.give_back(first, failed=False)
    assert await endpoints.take() == first
    endpoints.give_back(first, failed=True)
    assert [await endpoints.take(), await endpoints.take()] == [second, second]


async def test_a_host_name_stands_for_its_ip_addresses() -> None:
    (found,) = [found for found in await Endpoints("tcp:localhost:1").instances() if ":" not in found.host]
    assert found == Address(host="127.0.0.1", port=1, name="localhost")


async def test_names_that_cannot_be_resolved_are_left_out_while_there_are_others() -> None:
    endpoints = Endpoints("tcp:nowhere.invalid:1,tcp:127.0.0.1:2")
    assert [str(found) for found in await endpoints.instances()] == ["tcp:127.0.0.1:2"]
    with pytest.raises(OSError, match=r"nowhere|known|resolution"):
        await Endpoints("tcp:nowhere.invalid:1").take()
