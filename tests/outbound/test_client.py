from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from photondb.outbound import Answer, HttpError, Request, perform
from photondb.outbound.addresses import ALLOW_PRIVATE_VARIABLE
from tests.outbound.web_server import Pages, PageServer


@pytest.fixture(autouse=True)
def open_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_PRIVATE_VARIABLE, "1")


async def failure(request: Request) -> HttpError:
    with pytest.raises(HttpError) as caught:
        await perform(request)
    return caught.value


def shown(answer: Answer) -> Any:
    return json.loads(answer.body)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_requests_arrive_as_they_were_made(pages: str, method: Any) -> None:
    headers = [("X-Mine", "é"), ("User-Agent", "test")]
    body = None if method == "GET" else b"body"
    echo = shown(await perform(Request(f"{pages}/echo?a=1", method, headers, body)))
    assert (echo["method"], echo["query"], echo["body"]) == (method, [["a", "1"]], "" if body is None else "body")
    assert echo["headers"]["x-mine"].encode("latin-1").decode() == "é"
    assert echo["headers"]["user-agent"] == "test"
    assert echo["headers"]["host"] == pages.removeprefix("http://")


async def test_head_has_no_body(pages: str) -> None:
    answer = await perform(Request(f"{pages}/echo", "HEAD"))
    assert (answer.status, answer.body) == (200, b"")


async def test_redirects_are_followed_as_far_as_they_may_be(pages: str) -> None:
    assert shown(await perform(Request(f"{pages}/redirect/2", redirects=2)))["method"] == "GET"
    assert (await failure(Request(f"{pages}/redirect/2"))).message == "Number of redirects hit maximum amount"
    refused = await failure(Request(f"{pages}/redirect/1", redirects=0))
    assert refused.message == "status code 302"
    assert refused.answer is not None
    assert ("location", "/echo") in refused.answer.headers


async def test_what_may_pass_is_tried_again(pages: str) -> None:
    assert (await perform(Request(f"{pages}/flaky", attempts=3))).body == b"at last"
    assert Pages.hits["/flaky"] == 3
    Pages.hits.clear()
    assert (await failure(Request(f"{pages}/flaky", attempts=2))).message == "status code 503"
    assert (await failure(Request(f"{pages}/status/404"))).message == "status code 404"
    assert Pages.hits["/status/404"] == 1
    assert (await failure(Request(f"{pages}/echo", attempts=0))).message == "could not perform, no attempts allowed"


async def test_what_failed_is_told(pages: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        refused = await failure(Request(f"http://127.0.0.1:{port}/", attempts=2))
    assert refused.message == "could not connect to server"
    assert (await failure(Request("http://name.invalid/"))).message == "Couldn't resolve host name"
    assert (await failure(Request("ftp://127.0.0.1/"))).message == "Unsupported protocol"
    assert (await failure(Request("http://127.0.0.1:x/"))).message == "URL using bad/illegal format or missing URL"
    assert (await failure(Request(f"{pages}/broken", attempts=1))).message == "the server did not answer in HTTP"
    assert (await failure(Request(f"{pages}/elsewhere?to=file:///etc/passwd"))).message == "Unsupported protocol"


async def test_a_request_ends_when_its_time_is_up(pages: str) -> None:
    assert (await failure(Request(f"{pages}/slow", timeout_ms=100))).message == "timed out after 0.100 seconds"
    assert (await failure(Request(f"{pages}/echo", timeout_ms=0))).message == "timed out after 0.000 seconds"


@pytest.mark.parametrize("packed", ["gzip", "deflate", "raw", "identity"])
async def test_bodies_are_unpacked(pages: str, packed: str) -> None:
    assert (await perform(Request(f"{pages}/packed/{packed}"))).body == b"unpacked"


@pytest.mark.parametrize("packed", ["cut", "wrong", "twice", "zstd"])
async def test_what_is_packed_otherwise_is_refused(pages: str, packed: str) -> None:
    refused = await failure(Request(f"{pages}/packed/{packed}"))
    assert refused.message == "the response could not be decompressed"


@pytest.mark.parametrize("way", ["", "302", "401"])
async def test_bodies_are_limited_also_on_the_way_to_an_answer(pages: str, way: str) -> None:
    request = Request(f"{pages}/bomb/{way}", auth=httpx.DigestAuth("ann", "secret") if way == "401" else None)
    assert "longer than 67108864 bytes" in (await failure(request)).message


async def test_bodies_are_limited_together(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("photondb.outbound.bodies.MAX_BODIES_BYTES", 10)
    assert "too much is being received" in (await failure(Request(f"{pages}/echo"))).message
    for _ in range(3):  # what is over does not count
        assert (await perform(Request(f"{pages}/packed/gzip"))).body == b"unpacked"


async def test_passwords_are_shown_in_both_ways(pages: str) -> None:
    assert (await perform(Request(f"{pages}/basic", auth=httpx.BasicAuth("ann", "secret")))).body == b"welcome"
    assert (await perform(Request(f"{pages}/digest", auth=httpx.DigestAuth("ann", "secret")))).body == b"welcome"
    assert (await failure(Request(f"{pages}/basic", auth=httpx.BasicAuth("ann", "wrong")))).message == "status code 401"


async def test_a_redirect_leads_nowhere_that_is_forbidden(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def close_then_redirect(page: Pages) -> None:
        os.environ[ALLOW_PRIVATE_VARIABLE] = "0"
        page.answer(b"", status=302, Location=f"{pages}/echo")

    monkeypatch.setattr(Pages, "page_trap", close_then_redirect, raising=False)
    assert "may not reach the address 127.0.0.1" in (await failure(Request(f"{pages}/trap"))).message
    assert Pages.hits["/echo"] == 0


async def test_addresses_are_forbidden_by_default(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_PRIVATE_VARIABLE)
    refused = await failure(Request(f"{pages}/echo"))
    assert ALLOW_PRIVATE_VARIABLE in refused.message
    assert not Pages.hits


async def test_proxies_of_the_environment_are_not_used(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await perform(Request(f"{pages}/echo"))).status == 200


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    made, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


async def test_certificates_are_verified_unless_that_is_turned_off(certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = PageServer(("127.0.0.1", 0), Pages)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"https://localhost:{server.server_address[1]}/echo"
        refused = await failure(Request(url))
        assert refused.message == "SSL peer certificate or SSH remote key was not OK"
        assert shown(await perform(Request(url, verify=False)))["headers"]["host"].startswith("localhost:")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_cancelled_request_ends(pages: str) -> None:
    task = asyncio.ensure_future(perform(Request(f"{pages}/slow")))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
