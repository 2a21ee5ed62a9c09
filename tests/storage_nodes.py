"""The processes of a running suite's storage nodes, for tests that look after them."""

from __future__ import annotations

from pathlib import Path

from tests.running_suite import RunningSuite


def storage_processes(suite: RunningSuite) -> dict[int, int]:
    """The process ids of the storage nodes, by their numbers; those that run at the moment."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = f"\nPPid:\t{suite.pid}\n" in (process / "status").read_text()
            command = (process / "cmdline").read_bytes().split(b"\0")
            environ = dict(entry.split(b"=", 1) for entry in (process / "environ").read_bytes().split(b"\0") if entry)
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
        if is_ours and b"services.storage" in command:
            found[int(environ[b"PHOTONDB_STORAGE_NODE"])] = int(process.name)
    return found
