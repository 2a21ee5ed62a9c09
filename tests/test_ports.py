from __future__ import annotations

import errno
import socket

import pytest

from photondb.ports import reserve_port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_reserved_port_can_be_listened_on_again_and_again_and_is_nobody_elses(host: str) -> None:
    with reserve_port(host) as reserved:
        port = reserved.getsockname()[1]
        for _ in range(2):
            with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
                pass
            with socket.socket() as other, pytest.raises(OSError, match=r".") as caught:
                other.bind(("127.0.0.1", port))  # as the kernel does when it looks for a free one
            assert caught.value.errno == errno.EADDRINUSE


def test_nothing_is_reserved_on_a_host_that_there_is_not() -> None:
    with pytest.raises(OSError, match=r"."):
        reserve_port("192.0.2.1")
