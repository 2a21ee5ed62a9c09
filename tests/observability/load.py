"""A load that makes a suite do a little of everything, so that every metric has something to tell."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from rethinkdb import r
from rethinkdb.errors import ReqlError

from photondb.client import transaction
from tests.post_server import post_server


@contextlib.contextmanager
def under_load(driver_port: int) -> Iterator[None]:
    """Load the suite at the port while the block runs. It must allow sinks to reach this machine."""
    with post_server() as url, r.connect("127.0.0.1", driver_port) as conn:
        r.table_create("orders").run(conn)
        r.table("orders").index_create("total").run(conn)
        r.table("orders").index_wait().run(conn)
        sink = {"id": "hook", "db": "test", "table": "orders", "kind": "webhook"}
        r.db("rethinkdb").table("sinks").insert({**sink, "url": url}).run(conn)
        with _at_work(driver_port):
            yield


@contextlib.contextmanager
def _at_work(driver_port: int) -> Iterator[None]:
    ended = threading.Event()
    threads = [threading.Thread(target=work, args=(driver_port, ended)) for work in (_write, _read, _follow, _misuse)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _write(port: int, ended: threading.Event) -> None:
    orders = r.table("orders")
    with r.connect("127.0.0.1", port) as conn:
        while not ended.wait(0.01):
            orders.insert([{"id": number, "total": number} for number in range(20)], conflict="replace").run(conn)
            orders.get(1).update({"total": r.row["total"] + 1}).run(conn)
            orders.get(2).delete().run(conn)
            with transaction(conn) as tx:
                tx.run(orders.get(3).update({"paid": True}))


def _read(port: int, ended: threading.Event) -> None:
    orders = r.table("orders")
    with r.connect("127.0.0.1", port) as conn:
        while not ended.wait(0.01):
            orders.get(1).run(conn)
            orders.get_all(1, 2, 3).run(conn)
            orders.between(5, 10, index="total").run(conn)
            orders.filter(lambda order: order["total"] > 5).count().run(conn)
            r.expr(1).add(1).run(conn)


def _follow(port: int, ended: threading.Event) -> None:
    orders = r.table("orders")
    feeds = (orders.changes(), orders.get(1).changes(), orders.order_by(index="total").limit(3).changes())
    with contextlib.ExitStack() as stack:
        cursors: list[Any] = []
        for feed in feeds:
            conn = stack.enter_context(r.connect("127.0.0.1", port))
            cursors.append(feed.run(conn))
        while not ended.is_set():
            for cursor in cursors:
                with contextlib.suppress(ReqlError):
                    cursor.next(wait=0.1)


def _misuse(port: int, ended: threading.Event) -> None:
    with r.connect("127.0.0.1", port) as conn:
        while not ended.wait(0.05):
            with contextlib.suppress(ReqlError):
                r.table("orders").get(1)["missing"].run(conn)
            with contextlib.suppress(ReqlError):
                r.connect("127.0.0.1", port, password="wrong")
