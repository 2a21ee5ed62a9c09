"""The gateway stays awake for the next query of a client that asks one after the other, and only then."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from rethinkdb import r

from photondb.config.machine import processors
from photondb.telemetry import catalogue
from photondb.telemetry.scrape import Scrape
from services.gateway.busy_polling import DEFAULT_WINDOW_US, PollingWindow, default_window_us
from services.gateway.protocol import frame
from services.gateway.service import Gateway
from tests.gateway.raw_client import RawClient
from tests.running_suite import RunningSuite
from tests.telemetry.load import pages, totals

LONG_US = 10_000_000
"""Whatever the machine has to do, queries that are asked one after the other come within this time."""


def test_a_query_that_came_soon_is_taken_for_a_sign_of_the_next_one() -> None:
    window = PollingWindow(2)
    window.asked(10)
    assert window.answered(11) == 11  # nothing was answered before it
    window.asked(12.5)
    assert window.answered(13) == 15
    window.asked(14)
    assert window.answered(15) == 17
    window.asked(17.5)  # too late: the next one is not waited for
    assert window.answered(18) == 18
    window.asked(19)
    assert window.answered(19.5) == 21.5


def test_a_window_of_nothing() -> None:
    window = PollingWindow(0)
    for now in (1, 1, 1):
        window.asked(now)
        assert window.answered(now) == now


def polls(gateway: Gateway) -> dict[str, float]:
    scrape = Scrape()
    gateway.collect(scrape)
    return {found: number for (found,), number in scrape.numbers[catalogue.GATEWAY_BUSY_POLLS].items()}


Start = Callable[..., Awaitable[Gateway]]
Connect = Callable[..., Awaitable[RawClient]]


async def test_queries_one_after_the_other(start_gateway: Start, connect: Connect) -> None:
    gateway = await start_gateway(busy_poll_us=LONG_US)
    client = await connect(gateway)
    for token in range(10):
        await client.ask(token, 1, token)
    # The first one follows nothing, and only its successor tells that others may follow.
    assert polls(gateway) == {"query": 8, "nothing": 0}
    await client.close()


async def test_queries_at_once_need_no_looking(start_gateway: Start, connect: Connect) -> None:
    gateway = await start_gateway(busy_poll_us=LONG_US)
    client = await connect(gateway)
    for _ in range(5):
        client.send(b"".join(frame(token, b"[1,1]") for token in range(3)))
        for _ in range(3):
            await client.read_answer()
    assert polls(gateway) == {"query": 0, "nothing": 0}


async def test_it_sleeps_when_nothing_comes(start_gateway: Start, connect: Connect) -> None:
    gateway = await start_gateway(busy_poll_us=LONG_US // 100)
    client = await connect(gateway)
    token = 0
    while not polls(gateway)["nothing"]:  # after two queries, the second of which came soon, the third one does not
        token += 2
        await client.ask(token, 1, token)
        await client.ask(token + 1, 1, token)
        await asyncio.sleep(LONG_US / 50 / 1e6)
    assert polls(gateway) == {"query": 0, "nothing": 1}


async def test_switched_off(start_gateway: Start, connect: Connect) -> None:
    gateway = await start_gateway()
    client = await connect(gateway)
    for token in range(10):
        await client.ask(token, 1, token)
    assert polls(gateway) == {"query": 0, "nothing": 0}


@pytest.mark.parametrize("processes", [False, True])
def test_it_is_set_for_a_suite(tmp_path: Path, processes: bool) -> None:
    environ = {"PHOTONDB_BUSY_POLL_US": "10000"}
    running = RunningSuite(tmp_path / "data", processes=processes, environ=environ)
    with running as suite, r.connect(port=suite.driver_port) as conn:
        for _ in range(1000):  # of which at least one follows the one before it soon
            r.expr(1).run(conn)
        assert totals(pages(suite))["photondb_gateway_busy_polls_total"] > 0


def test_without_a_setting_it_is_for_where_there_is_a_processor_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert default_window_us() == 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert default_window_us() == (DEFAULT_WINDOW_US if processors() >= 2 else 0)
