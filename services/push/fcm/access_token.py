"""The OAuth token that FCM wants with every call, kept fresh. Google's library signs and asks for it; that
blocks, so it runs in a thread, one at a time, and before the old token expires."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC
from functools import partial
from typing import Any

from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials

from crown import logs

log = logs.get(__name__)

_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
# A token with less time left is replaced, while it still serves.
_EARLY_S = 300.0
# Pause after a refresh that failed, so that a thousand messages do not ask a thousand times.
_PAUSE_S = 1.0
_TIMEOUT_S = 5.0


class TokenUnavailable(Exception):
    """There is no token, and none is to be had now."""


class AccessToken:
    """The token of one service account. `clock` gives seconds since 1970."""

    def __init__(self, account: dict[str, Any], clock: Callable[[], float] = time.time) -> None:
        self._credentials: Any = Credentials.from_service_account_info(account, scopes=[_SCOPE])  # type: ignore[no-untyped-call]
        self._request = Request()
        self._clock = clock
        self._token = ""
        self._expires = 0.0
        self._failed = float("-inf")
        self._refreshing: asyncio.Task[None] | None = None

    async def current(self) -> str:
        """A token that FCM takes. Waits only where there is none. Raises TokenUnavailable."""
        left_s = self._expires - self._clock()
        if left_s < _EARLY_S:
            refreshing = self._refresh()
            if left_s <= 0 and refreshing is not None:
                await asyncio.shield(refreshing)
        if self._expires <= self._clock():
            raise TokenUnavailable
        return self._token

    def reject(self, token: str) -> None:
        """FCM did not take `token`: the next call gets another."""
        if token == self._token:
            self._expires = 0.0

    async def close(self) -> None:
        """Waits for a refresh that is under way."""
        if self._refreshing is not None:
            await self._refreshing
        self._request.session.close()

    def _refresh(self) -> asyncio.Task[None] | None:
        """The refresh that is under way, begun if need be; None while the last failure is fresh."""
        if self._refreshing is None or self._refreshing.done():
            if self._clock() - self._failed < _PAUSE_S:
                return None
            self._refreshing = asyncio.create_task(self._fetch(), name="access token")
        return self._refreshing

    async def _fetch(self) -> None:
        try:
            # The library's own time limit is two minutes a try.
            request = partial(self._request, timeout=_TIMEOUT_S)
            await asyncio.to_thread(self._credentials.refresh, request)
        except (GoogleAuthError, OSError, ValueError) as error:
            self._failed = self._clock()
            log.warning("access_token_failed", error=type(error).__name__)
            return
        self._token = str(self._credentials.token)
        # Google's library keeps naive times in UTC.
        self._expires = self._credentials.expiry.replace(tzinfo=UTC).timestamp()
