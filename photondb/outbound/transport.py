"""A transport for httpx that connects to the addresses that were checked, and to no others."""

from __future__ import annotations

import functools
import ssl

import httpx

from photondb.outbound.addresses import resolve
from photondb.outbound.bodies import PlainBody

_PORTS = {"http": 80, "https": 443}


@functools.cache
def tls_context(verify: bool) -> ssl.SSLContext:
    """The TLS settings of clients that verify certificates, or not."""
    return httpx.create_ssl_context(verify=verify)


class CheckedTransport(httpx.AsyncBaseTransport):
    """Resolves the host of each request, redirected ones too, and connects to an address that queries may reach.

    Bodies of responses are plain and bounded. The host's name goes along as it was, in the `Host` header and for TLS.
    """

    def __init__(self, verify: bool) -> None:
        self._transport = httpx.AsyncHTTPTransport(verify=tls_context(verify), trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises Unresolvable, Forbidden and httpx.TransportError."""
        url = request.url
        if url.scheme not in _PORTS:
            raise httpx.UnsupportedProtocol(f"Unsupported protocol: {url.scheme}", request=request)
        failure: Exception | None = None
        for address in await resolve(url.host, url.port or _PORTS[url.scheme]):
            try:
                return _plain(
                    await self._transport.handle_async_request(
                        httpx.Request(
                            request.method,
                            url.copy_with(host=address),
                            headers=request.headers,
                            stream=request.stream,
                            extensions={**request.extensions, "sni_hostname": url.host},
                        )
                    )
                )
            except httpx.ConnectError as error:
                failure = error
        assert failure is not None
        raise failure

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


def _plain(response: httpx.Response) -> httpx.Response:
    """The response with its body as `PlainBody` gives it, and so without the header that says how it is encoded."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-encoding"]
    assert isinstance(response.stream, httpx.AsyncByteStream)
    body = PlainBody(response.stream, "" if encoding == "identity" else encoding)
    return httpx.Response(response.status_code, headers=headers, stream=body, extensions=response.extensions)
