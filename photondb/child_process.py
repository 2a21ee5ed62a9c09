"""Start child processes that never outlive the process that started them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


async def spawn_child(
    command: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    pass_fds: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    """Start `command` as a child that the kernel kills when this process ends, however it ends.

    The child has no standard input and a process group of its own: Ctrl-C in a terminal reaches only the parent, who
    then decides in which order to end its children. Must be called on the main thread, because the kernel watches the
    thread that made the child. Raises OSError when the command cannot be run.
    """
    return await asyncio.create_subprocess_exec(
        *command,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        preexec_fn=_child_of(os.getpid()),
    )


def _child_of(parent: int) -> Callable[[], None]:
    """What the child does between fork and exec: leave the group of `parent`, and ask to be killed when that ends."""

    def prepare() -> None:
        os.setpgid(0, 0)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before it was asked
            os._exit(1)

    return prepare
