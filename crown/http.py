"""Calls to providers over HTTP: one session, one time limit, no redirects, no cookies, no retries. A call that
breaks off tells whether anything of it had been written, which is all that decides between "surely not sent"
and "nobody knows". What has a body is written only while the lease of its call holds. With an Egress it calls
only what that allows."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from crown import lease, time_limit
from crown.egress import AddressRefused, Egress, PublicResolver
from crown.outcome import Retry, Snooze, Unknown

_CONNECT_TIMEOUT_S = 4.0
# More of an answer than this is not read: no provider says so much.
_BODY_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` is what arrived of it: an answer that is cut off still has its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class CallBroken(Exception):
    """There was no answer. `word` says why; `written` whether the provider may have heard us."""

    def __init__(self, word: str, *, written: bool) -> None:
        super().__init__(word)
        self.word = word
        self.written = written

    @property
    def outcome(self) -> Retry | Snooze | Unknown:
        """What it means for an attempt: Retry where not a byte was written, else Unknown; lease.OVER where its lease
        was."""
        if self.word == lease.OVER.error:
            return lease.OVER
        return Unknown(self.word) if self.written else Retry(self.word)


class Http:
    """A session with one provider, or with whoever `egress` allows. Make it inside the running loop."""

    def __init__(self, connections: int = 128, timeout_s: float = 10.0, egress: Egress | None = None) -> None:
        self._egress = egress
        self._timeout_s = timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, resolver=PublicResolver(egress) if egress is not None else None
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def get(self, url: str, headers: Mapping[str, str], query: Mapping[str, str]) -> Answer:
        """Asks. Raises CallBroken."""
        return await self._call("GET", url, headers, query=query)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Sends `body`. Raises CallBroken."""
        return await self._call("POST", url, headers, body=body)

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def _call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        if self._egress is not None and self._egress.problem(url):
            raise CallBroken("ADDRESS_REFUSED", written=False)
        sent = _Body(body) if body is not None else None
        end = asyncio.get_running_loop().time() + self._timeout_s
        try:
            async with time_limit.until(end):
                response = await self._session.request(
                    method, url, headers=headers, data=sent, params=query, allow_redirects=False
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # What has no body only asks, and nothing depends on whether it was heard.
            raise CallBroken(_word(error), written=sent is None or sent.written) from error
        async with response:
            return Answer(response.status, response.headers, await _read(response, end))


class _Body(aiohttp.BytesPayload):
    """A body that knows whether its writing has begun; the headers go out with it. aiohttp's tracing tells the
    same and makes a call a tenth dearer."""

    written = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """As aiohttp calls it when there is a connection. Raises LeaseOver."""
        lease.last_look()
        self.written = True
        await super().write_with_length(writer, content_length)


async def _read(response: aiohttp.ClientResponse, end: float) -> bytes:
    body = bytearray()
    try:
        async with time_limit.until(end):
            async for part in response.content.iter_any():
                body += part
                if len(body) > _BODY_MOST_BYTES:
                    break
    except (aiohttp.ClientError, TimeoutError, OSError):
        # The status is known, and says more than the lost rest could.
        pass
    return bytes(body[:_BODY_MOST_BYTES])


def _word(error: Exception) -> str:
    """A word for the ledger that holds neither address nor content."""
    match error:
        case TimeoutError():
            return "TIMEOUT"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "TLS_FAILED"
        case aiohttp.ClientConnectorDNSError() if isinstance(error.os_error, AddressRefused):
            return "ADDRESS_REFUSED"
        case aiohttp.ClientConnectorDNSError():
            return "HOST_NOT_FOUND"
        case aiohttp.ClientConnectorError():
            return "CONNECT_FAILED"
        case aiohttp.ClientResponseError() | aiohttp.InvalidURL():
            return "ANSWER_GARBLED"
        case aiohttp.ClientConnectionError() if isinstance(error.__cause__, lease.LeaseOver):
            return lease.OVER.error
        case _:
            return "CONNECTION_LOST"
