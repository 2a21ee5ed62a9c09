"""What the metrics of a process say about its health."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families

from photondb.doctor.findings import Finding, failure, ok, warning
from photondb.telemetry import catalogue
from photondb.telemetry.declaring import Metric

FULL_SHARE = 0.98
NEARLY_FULL_SHARE = 0.9
"""Of the disk."""

MANY_DESCRIPTORS_SHARE = 0.8
MUCH_MEMORY_SHARE = 0.85

SLOW_LAG_S = 0.1
SLOW_LAG_SHARE = 0.01
"""An event loop is slow when more than that share of its turns came later than that."""

SLOW_SYNC_S = 0.05
MUCH_COMPACTION_BYTES = 16 << 30
MANY_WRONG_PASSWORDS = 100

Samples = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]
"""Values by name and labels, sorted."""


def read_samples(page: str) -> Samples:
    """The samples of a metrics page. Raises ValueError for what is none."""
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def judge(process: str, samples: Samples) -> Iterator[Finding]:
    """What is to be said of a process by its numbers."""
    yield _descriptors(process, samples)
    yield _memory(process, samples)
    yield _loop(process, samples)
    if catalogue.BUS_CONNECTED.name in samples:
        yield _bus(process, samples)
    if catalogue.ROCKSDB_WRITES_STOPPED.name in samples:
        node = process if process.startswith("storage") else "storage"
        yield _disk(node, samples)
        yield _rocksdb(node, samples)
        yield _syncs(node, samples)
        yield _indexes(node, samples)
    if catalogue.AUTH_LOGINS.name in samples:
        yield _logins(samples)
    errors = _sum(samples, catalogue.LOG_RECORDS, level="error")
    if errors:
        yield warning(f"{process}: log", f"{errors:,.0f} errors were logged since its start", "read its log")


def _sum(samples: Samples, metric: Metric, **labels: str) -> float:
    """The sum of a metric's values that have these labels."""
    wanted = set(labels.items())
    return sum(value for found, value in samples.get(metric.name, {}).items() if wanted <= set(found))


def _descriptors(process: str, samples: Samples) -> Finding:
    about = f"{process}: file descriptors"
    used, limit = _sum(samples, catalogue.PROCESS_FDS), _sum(samples, catalogue.PROCESS_MAX_FDS)
    message = f"{used:,.0f} of {limit:,.0f} are open"
    if used > limit * MANY_DESCRIPTORS_SHARE:
        return failure(about, message, "raise its limit (ulimit -n, LimitNOFILE=): new connections will be refused")
    if limit < 4096:
        return warning(about, message, "raise its limit to 65536 (ulimit -n, LimitNOFILE=): each client takes one")
    return ok(about, message)


def _memory(process: str, samples: Samples) -> Finding:
    about = f"{process}: memory"
    used, limit = _sum(samples, catalogue.PROCESS_RSS), _sum(samples, catalogue.PROCESS_MEMORY_LIMIT)
    message = f"it has {used / 1e6:,.0f} of {limit / 1e6:,.0f} MB"
    if used > limit * MUCH_MEMORY_SHARE:
        return warning(
            about, message, "give it more memory, or lower PHOTONDB_CACHE_BYTES and PHOTONDB_MAX_QUERY_BYTES"
        )
    return ok(about, message)


def _loop(process: str, samples: Samples) -> Finding:
    about = f"{process}: event loop"
    name = catalogue.LOOP_LAG.name
    total = sum(samples.get(f"{name}_count", {}).values())
    late = total - sum(
        v for labels, v in samples.get(f"{name}_bucket", {}).items() if ("le", f"{SLOW_LAG_S:g}") in labels
    )
    message = f"{late:,.0f} of {total:,.0f} turns came more than {SLOW_LAG_S * 1000:g} ms late"
    if total and late > total * SLOW_LAG_SHARE:
        return warning(about, message, "look at /_debug/profile for what holds it up; the machine may be overloaded")
    return ok(about, message)


def _bus(process: str, samples: Samples) -> Finding:
    about = f"{process}: bus"
    dropped = _sum(samples, catalogue.BUS_DROPPED)
    message = f"{_sum(samples, catalogue.BUS_GAPS):,.0f} gaps, {dropped:,.0f} messages lost since its start"
    if not _sum(samples, catalogue.BUS_CONNECTED):
        return failure(
            about, "NATS cannot be reached", "start the NATS server, or check PHOTONDB_NATS_URL: feeds pause"
        )
    return ok(about, message)


def _disk(node: str, samples: Samples) -> Finding:
    about = f"{node}: disk"
    free, size = _sum(samples, catalogue.DISK_FREE), _sum(samples, catalogue.DISK_SIZE)
    message = f"{free / 1e9:,.1f} of {size / 1e9:,.1f} GB are free"
    if free < size * (1 - FULL_SHARE):
        return failure(about, message, "make room or grow the file system now: writes are about to fail")
    if free < size * (1 - NEARLY_FULL_SHARE):
        return warning(about, message, "make room or grow the file system: compactions need some, too")
    return ok(about, message)


def _rocksdb(node: str, samples: Samples) -> Finding:
    about = f"{node}: RocksDB"
    pending = _sum(samples, catalogue.ROCKSDB_COMPACTION_PENDING)
    if _sum(samples, catalogue.ROCKSDB_ERRORS):
        return failure(
            about, "flushes or compactions have failed", "read storage's log; check the disk, then restart it"
        )
    if _sum(samples, catalogue.ROCKSDB_WRITES_STOPPED):
        return failure(about, "it takes no writes until compactions catch up", "write less, or use a faster disk")
    if _sum(samples, catalogue.ROCKSDB_DELAYED_RATE) or pending > MUCH_COMPACTION_BYTES:
        return warning(
            about, f"{pending / 1e9:,.1f} GB are still to be compacted", "write less at a time, or use a faster disk"
        )
    stalls = _sum(samples, catalogue.ROCKSDB_STALLS)
    return ok(about, f"{pending / 1e6:,.0f} MB are to be compacted, writes were stalled for {stalls:,.1f} s in all")


def _indexes(node: str, samples: Samples) -> Finding:
    about = f"{node}: indexes"
    outdated = _sum(samples, catalogue.STORAGE_INDEXES_OUTDATED)
    message = f"{outdated:,.0f} of {_sum(samples, catalogue.STORAGE_INDEXES):,.0f} are outdated"
    if outdated:
        return warning(
            about,
            message,
            "filters, orders and joins do not use them: make those anew that r.table(...).index_status() shows as "
            "`outdated` (index_create under another name, then index_rename with overwrite=True)",
        )
    return ok(about, message)


def _syncs(node: str, samples: Samples) -> Finding:
    about = f"{node}: write-ahead log"
    name = catalogue.SYNC_DURATION.name
    count, total = (sum(samples.get(f"{name}_{part}", {}).values()) for part in ("count", "sum"))
    if _sum(samples, catalogue.SYNC_FAILURES):
        return failure(about, "the disk did not take it", "check the disk and its file system, then restart storage")
    if not count:
        return ok(about, "nothing was synced yet")
    message = f"a sync takes {total / count * 1000:,.2f} ms on average"
    if total / count > SLOW_SYNC_S:
        return warning(about, message, "put the data directory on a faster disk: every hard write waits for it")
    return ok(about, message)


def _logins(samples: Samples) -> Finding:
    wrong = sum(_sum(samples, catalogue.AUTH_LOGINS, outcome=word) for word in ("wrong_password", "unknown_user"))
    message = f"{wrong:,.0f} with a wrong name or password since its start"
    if wrong > MANY_WRONG_PASSWORDS:
        return warning("auth: logins", message, "somebody may be guessing: see who can reach the ports")
    return ok("auth: logins", message)
