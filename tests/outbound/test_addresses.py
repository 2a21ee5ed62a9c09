from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

import pytest

from photondb.outbound.addresses import ALLOW_PRIVATE_VARIABLE, Forbidden, Unresolvable, is_public, resolve


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_may_be_reached(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1.2.3", "::1"),
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "fd00::1"),
        *("169.254.169.254", "fe80::1"),
        *("0.0.0.0", "::", "255.255.255.255", "100.64.0.1", "192.0.2.1", "198.18.0.1", "2001:db8::1"),
        *("224.0.0.1", "ff02::1"),
        *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    ],
)
def test_all_others_may_not(address: str) -> None:
    assert not is_public(ip_address(address))


async def test_names_are_resolved_before_they_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_PRIVATE_VARIABLE, raising=False)
    with pytest.raises(Forbidden):
        await resolve("localhost", 80)
    for spelling in ("127.1", "2130706433", "0x7f000001", "0"):
        with pytest.raises((Forbidden, Unresolvable)):
            await resolve(spelling, 80)
    with pytest.raises(Unresolvable):
        await resolve("name.invalid", 80)
    with pytest.raises(Unresolvable):
        await resolve("a" * 70 + ".example", 80)


async def test_one_private_address_is_enough_to_refuse_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_PRIVATE_VARIABLE, raising=False)

    async def answers(host: str, port: int, **_: Any) -> list[Any]:
        addresses = {"mixed.example": ["8.8.8.8", "10.0.0.1"], "fine.example": ["8.8.8.8", "8.8.4.4"]}
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses[host]]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answers)
    assert await resolve("fine.example", 80) == ["8.8.8.8", "8.8.4.4"]
    with pytest.raises(Forbidden, match=r"10\.0\.0\.1"):
        await resolve("mixed.example", 80)


async def test_the_setting_opens_private_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_PRIVATE_VARIABLE, "true")
    assert await resolve("127.0.0.1", 80) == ["127.0.0.1"]
    monkeypatch.setenv(ALLOW_PRIVATE_VARIABLE, "0")
    with pytest.raises(Forbidden):
        await resolve("127.0.0.1", 80)
