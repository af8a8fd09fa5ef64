"""Ingest, as the relay asks it to take notifications in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crown import logs
from crown.client.calls import OPTIONS, Calls, TokenSource
from crown.errors import CrownError, InProgress, NotAllowed, OutcomeUnknown, Unauthenticated, Unavailable
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.tls import Identity, Link

if TYPE_CHECKING:
    # Stubs alone know of it.
    from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

log = logs.get(__name__)

_HEALTH_LIMIT_S = 3.0
# What its certificate has to name, where its address is but a number.
_NAME = "ingest-api"


class Ingest:
    """One connection to ingest's API, or to the gateway."""

    def __init__(self, address: str, token: TokenSource, identity: Identity | None = None) -> None:
        self._link = Link(address, identity, _NAME, OPTIONS)
        self._calls = Calls(token)
        self._welcome = True

    async def take(self, request: SendNotificationRequest) -> str:
        """Has the notification accepted and answers its id. Raises CrownError."""
        try:
            stub: IngestServiceAsyncStub = self._link.stub(IngestServiceStub)
            answer = await self._calls.unary(stub.SendNotification, request)
        except (Unauthenticated, NotAllowed) as error:
            self._welcomed(False, error.reason)
            raise
        self._welcomed(True)
        return answer.notification_id

    async def healthy(self) -> bool:
        """Whether ingest can be reached and takes our token."""
        try:
            async with asyncio.timeout(_HEALTH_LIMIT_S):
                await self._link.channel().channel_ready()
        except TimeoutError:
            return False
        return self._welcome

    async def close(self) -> None:
        """Ends the connection and what is under way on it."""
        await self._link.close()

    def _welcomed(self, welcome: bool, reason: str = "") -> None:
        if welcome != self._welcome:
            self._welcome = welcome
            log.warning("token_accepted" if welcome else "token_refused", reason=reason)


def may_be_taken_later(error: CrownError) -> bool:
    """Whether the same request can be accepted later. A refused token is among it: the event is not to blame, and
    another token will come."""
    for_now = (Unavailable, InProgress, OutcomeUnknown, Unauthenticated, NotAllowed)
    return isinstance(error, for_now) or error.reason == "RATE_LIMITED"
