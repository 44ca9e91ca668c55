"""HTTP to vendors and to other processes of ours: one pool of connections, time limits, and two kinds of silence.

`NotSent` is safe to repeat; after `NoReply` the other side may have acted, so only the asker of an idempotent question
repeats it. What a request means never belongs here: that is a provider's codec.

TransportFailed
├── NotSent     the request surely never reached the other side
└── NoReply     bytes may have left; the outcome is unknown
"""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp import hdrs
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState
from stamina import AsyncRetryingCaller
from yarl import URL

from rickhouse.kernel.wire import HttpReply, HttpRequest
from rickhouse.platform.db import refuse_in_transaction

_CONNECTIONS_MAX: Final = 512
_CONNECTIONS_PER_HOST_MAX: Final = 128
_KEEPALIVE_S: Final = 10.0
"""Shorter than servers keep an idle connection, so that a POST seldom meets one that is just being closed."""

_OWN_HEADERS_ONLY: Final = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
"""Headers that the library would add by itself. Without Accept-Encoding nothing has to be decompressed."""

_CONNECT_FAILED: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_EXCHANGE_FAILED: Final = (aiohttp.ClientError, asyncio.TimeoutError, OSError)

_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()


class TransportFailed(Exception):
    """No reply was had. The message names the vendor and the sort of failure; addresses and contents stay out of it."""

    def __init__(self, vendor: str, reason: str) -> None:
        super().__init__(f"{vendor}: {reason}")
        self.vendor = vendor


class NotSent(TransportFailed):
    """The request never reached the other side: no connection could be made. Repeating it is safe."""


class NoReply(TransportFailed):
    """The request may have had its effect: bytes may have left, and no whole reply came back in time."""


class HttpClient:
    """Requests to one base URL. Every client of an event loop shares one pool of kept-alive connections.

    `timeout_s` bounds an exchange from connecting to the last byte; `connect_timeout_s` bounds connecting alone.
    `retries` repeats only what was `NotSent`, with growing jittered waits, within another `timeout_s`. After
    `failures_max` failures in a row nothing is sent for `pause_s` (`NotSent` at once); zero leaves the breaker out.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        timeout_s: float = 10.0,
        connect_timeout_s: float = 2.0,
        retries: int = 0,
        failures_max: int = 20,
        pause_s: float = 2.0,
        reply_bytes_max: int = 1024 * 1024,
    ) -> None:
        parts = URL(base_url)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ValueError(f"{name}: the base URL must begin with http:// or https:// and name a host")
        self.name = name
        self._base = base_url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(connect_timeout_s, timeout_s / 2))
        self._reply_bytes_max = reply_bytes_max
        self._retrying = (
            AsyncRetryingCaller(
                attempts=retries, timeout=timeout_s, wait_initial=0.05, wait_max=1.0, wait_jitter=0.05
            )
            if retries
            else None
        )
        self._breakers = (
            AsyncCircuitBreakerFactory(
                default_threshold=failures_max,
                default_ttl=pause_s,
                exclude=[(BaseException, _is_not_the_vendors)],
            )
            if failures_max
            else None
        )

    async def send(self, request: HttpRequest) -> HttpReply:
        """Send `request` and read the whole reply, whatever its status; redirects are replies too.

        Raises NotSent, NoReply, TransactionOpen, ValueError (the path does not begin with a slash).
        """
        refuse_in_transaction(self.name)
        if not request.path.startswith("/"):
            raise ValueError(f"{self.name}: the path of a request begins with a slash")
        try:
            return await self._guarded(request)
        except NotSent:
            if self._retrying is None:
                raise
        # The library's retry costs 18 µs even when nothing fails, so the first attempt goes without it.
        return await self._retrying(NotSent, self._guarded, request)

    async def _guarded(self, request: HttpRequest) -> HttpReply:
        if self._breakers is None:
            return await self._exchange(request)
        try:
            async with await self._breakers.get_breaker(self.name):
                return await self._exchange(request)
        except OpenedState as error:
            error.__traceback__ = (
                None  # one instance is raised again and again, and would keep every caller's frames
            )
            raise NotSent(self.name, "failed too often just now, so nothing was sent") from None

    async def _exchange(self, request: HttpRequest) -> HttpReply:
        try:
            async with _session().request(
                request.method,
                URL(self._base + request.path, encoded=True),
                headers=request.headers,
                data=request.body or None,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                body = await self._read(response)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpReply(status=response.status, headers=headers, body=body)
        except _CONNECT_FAILED as error:
            raise NotSent(self.name, f"no connection ({type(error).__name__})") from None
        except _EXCHANGE_FAILED as error:
            raise NoReply(self.name, f"no whole reply ({type(error).__name__})") from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        content = response.content
        body = await content.readany()
        if content.at_eof() and len(body) <= self._reply_bytes_max:
            return body
        chunks, size = [body], len(body)
        while size <= self._reply_bytes_max and not content.at_eof():
            chunk = await content.readany()
            chunks.append(chunk)
            size += len(chunk)
        if size > self._reply_bytes_max:
            response.close()
            raise NoReply(self.name, f"the reply is larger than {self._reply_bytes_max} bytes")
        return b"".join(chunks)


def _is_not_the_vendors(error: BaseException) -> bool:
    """A caller that gave up, or a mistake of ours, says nothing about the vendor."""
    return not isinstance(error, TransportFailed)


async def close_clients() -> None:
    """Close the running event loop's connections; the next request opens new ones. For shutdown and tests."""
    session = _sessions.pop(asyncio.get_running_loop(), None)
    if session is not None:
        await session.close()


def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    session = _sessions.get(loop)
    if session is None:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=_CONNECTIONS_MAX,
                limit_per_host=_CONNECTIONS_PER_HOST_MAX,
                keepalive_timeout=_KEEPALIVE_S,
                ttl_dns_cache=30,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_OWN_HEADERS_ONLY,
            auto_decompress=False,
        )
        _sessions[loop] = session
    return session
