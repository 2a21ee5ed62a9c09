"""What the machine is like that the doctor runs on: clock, data directory, certificates."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import ssl
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from photondb.config import Settings
from photondb.doctor.findings import Finding, failure, ok, warning
from photondb.reql.memory import total_bytes

LEAST_DESCRIPTORS = 4096
LEAST_FREE_BYTES = 1 << 30
EXPIRES_SOON_S = 30 * 86_400

_UNSYNCHRONISED = 5
"""TIME_ERROR of adjtimex(2)."""


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """All that can be seen without a server."""
    yield _clock()
    yield _descriptors()
    yield _memory(settings)
    yield from _data_dir(settings.data_dir)
    yield from _certificates(settings)


def _clock() -> Finding:
    class Timex(ctypes.Structure):
        _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_char * 512))

    state = ctypes.CDLL(None).adjtimex(ctypes.byref(Timex()))
    if state == _UNSYNCHRONISED:
        return warning(
            "clock", "it is not synchronised", "run chrony or systemd-timesyncd: history and TLS go by the clock"
        )
    return ok("clock", "it is synchronised" if state >= 0 else "nobody may ask whether it is synchronised")


def _descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    message = f"processes that are started here may open {soft:,}"
    if soft < LEAST_DESCRIPTORS:
        return warning("file descriptors", message, f"run ulimit -n {min(hard, 65536) if hard > 0 else 65536} before")
    return ok("file descriptors", message)


def _memory(settings: Settings) -> Finding:
    total = total_bytes()
    cache = settings.cache_bytes
    if cache is not None and cache > total / 2:
        return warning(
            "memory",
            f"the cache may take {cache / 1e6:,.0f} of {total / 1e6:,.0f} MB",
            "lower PHOTONDB_CACHE_BYTES to a quarter of the memory: queries and memory tables need some, too",
        )
    return ok("memory", f"there are {total / 1e6:,.0f} MB")


def _data_dir(path: Path) -> Iterator[Finding]:
    about = "data directory"
    try:
        found = path.stat()
    except OSError as error:
        remedy = "say where it is with --data-dir, or run the doctor on storage's machine"
        yield warning(about, f"{path}: {error.strerror}", remedy)
        return
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid():
        yield warning(
            about, f"{path} belongs to user {found.st_uid}", f"run the doctor as that user, not {os.geteuid()}"
        )
    elif mode & 0o022:
        yield failure(about, f"others may write to {path} (mode {mode:o})", f"chmod 700 {path}")
    elif mode & 0o055:
        yield warning(about, f"others may read {path} (mode {mode:o})", f"chmod 700 {path}")
    else:
        yield ok(about, f"{path} is its owner's only")
    free = shutil.disk_usage(path).free
    if free < LEAST_FREE_BYTES:
        yield failure("disk", f"{free / 1e6:,.0f} MB are free for {path}", "make room: writes are about to fail")
    else:
        yield ok("disk", f"{free / 1e9:,.1f} GB are free for {path}")


def _certificates(settings: Settings) -> Iterator[Finding]:
    cert, key, authority = settings.rpc_tls_cert, settings.rpc_tls_key, settings.rpc_tls_ca
    for path in (cert, authority):
        if path is not None:
            yield _certificate(path)
    if cert is not None and key is not None:
        yield _key(cert, key)


def _certificate(path: Path) -> Finding:
    about = f"certificate {path}"
    try:
        decoded: dict[str, Any] = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]  # the only way
        ends = ssl.cert_time_to_seconds(decoded["notAfter"])
    except (OSError, KeyError, ValueError) as error:
        return failure(about, f"it cannot be read: {error}", "see that it is a PEM file that this user may read")
    left_s = ends - time.time()
    if left_s < 0:
        return failure(about, f"it has expired on {decoded['notAfter']}", "renew it, and restart the services")
    if left_s < EXPIRES_SOON_S:
        return warning(about, f"it expires on {decoded['notAfter']}", "renew it soon, and restart the services")
    return ok(about, f"it is valid until {decoded['notAfter']}")


def _key(cert: Path, key: Path) -> Finding:
    about = f"private key {key}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        return failure(about, f"it does not go with the certificate: {error}", "set the key that belongs to it")
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & 0o077:
        return failure(about, f"others may read it (mode {mode:o})", f"chmod 600 {key}")
    return ok(about, "it belongs to the certificate, and to its owner only")
