"""Transfers of money between two of 1,000 accounts, each in a transaction, by 16 clients at once.

    python -m benchmarks.transfers [--processes] [--clients 16] [--accounts 1000] [--seconds 10] [--snapshot]

It prints how many transfers were committed each second, how many had to be begun again because of conflicts, the
latencies, and whether the money is all there: that is looked at all the time, in transactions that read every account.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rethinkdb import errors, r

from photondb.client import transaction
from tests.running_suite import RunningSuite

START_CENTS = 1_000


@dataclass
class TransferReport:
    """What the clients saw. Latencies are those of whole transfers with all their attempts, in milliseconds."""

    seconds: float = 0.0
    conflicts: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    wrong_sums: list[int] = field(default_factory=list)
    looks: int = 0

    @property
    def transfers(self) -> int:
        """How many transfers were committed."""
        return len(self.latencies_ms)


def make_accounts(port: int, accounts: int) -> None:
    """Make the table `accounts`, and give money to everybody."""
    conn = r.connect(port=port)
    if "accounts" not in r.table_list().run(conn):
        r.table_create("accounts").run(conn)
    rows = [{"id": number, "cents": START_CENTS} for number in range(accounts)]
    r.table("accounts").insert(rows, conflict="replace").run(conn)
    conn.close()


def transfer(conn: Any, source: int, target: int, cents: int, isolation: Any = "serializable") -> None:
    """Move money, if there is enough of it. Raises ReqlOpFailedError for a conflict."""
    accounts = r.table("accounts")
    with transaction(conn, isolation=isolation) as tx:
        rows = tx.run(accounts.get_all(source, target).pluck("id", "cents").coerce_to("array"))
        balance = {row["id"]: row["cents"] for row in rows}
        if balance[source] < cents:
            return
        tx.run(accounts.get(source).update({"cents": balance[source] - cents}))
        tx.run(accounts.get(target).update({"cents": balance[target] + cents}))


def run_transfers(port: int, accounts: int, clients: int, seconds: float, isolation: Any) -> TransferReport:
    """Let clients transfer money for so many seconds."""
    report = TransferReport()
    finish = time.perf_counter() + seconds

    def pay(client: int) -> None:
        chance = random.Random(client)
        conn = r.connect(port=port)
        while time.perf_counter() < finish:
            source, target = chance.sample(range(accounts), 2)
            began = time.perf_counter()
            while True:
                try:
                    transfer(conn, source, target, chance.randint(1, 50), isolation)
                    break
                except errors.ReqlOpFailedError:
                    report.conflicts += 1
            report.latencies_ms.append((time.perf_counter() - began) * 1000)
        conn.close()

    def look() -> None:
        conn = r.connect(port=port)
        while time.perf_counter() < finish:
            with transaction(conn, read_only=True) as tx:
                total = tx.run(r.table("accounts").sum("cents"))
            report.looks += 1
            if total != accounts * START_CENTS:
                report.wrong_sums.append(total)
            time.sleep(0.1)
        conn.close()

    threads = [threading.Thread(target=pay, args=(client,)) for client in range(clients)]
    threads.append(threading.Thread(target=look))
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.seconds = time.perf_counter() - began
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--snapshot", action="store_true", help="snapshot isolation instead of serializable")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="photondb-transfers-") as directory,
        RunningSuite(Path(directory, "data"), processes=arguments.processes) as suite,
    ):
        make_accounts(suite.driver_port, arguments.accounts)
        report = run_transfers(
            suite.driver_port,
            arguments.accounts,
            arguments.clients,
            arguments.seconds,
            "snapshot" if arguments.snapshot else "serializable",
        )
    latencies = sorted(report.latencies_ms)
    print(
        f"{report.transfers:,} transfers in {report.seconds:.1f} s ({report.transfers / report.seconds:,.0f}/s), "
        f"{report.conflicts:,} begun again after a conflict; p50 {statistics.median(latencies):.1f} ms, "
        f"p99 {latencies[int(len(latencies) * 0.99)]:.1f} ms; "
        f"the sum of all accounts was looked at {report.looks} times and wrong {len(report.wrong_sums)} times"
    )


if __name__ == "__main__":
    main()
