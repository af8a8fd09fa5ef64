"""The RPCs of the push channel."""

from __future__ import annotations

from crown import ids
from crown.direct import DirectSend
from crown.door import Context
from crown.notification.v1.push_service_pb2 import SendPushRequest, SendPushResponse
from crown.recipients import Destination


class PushServicer:
    """PushService: what is sent here directly."""

    def __init__(self, direct: DirectSend) -> None:
        self._direct = direct

    async def SendPush(self, request: SendPushRequest, _context: Context) -> SendPushResponse:
        """Sends one push message now."""
        to = Destination(ids.device(request.token), request.token)
        receipt = await self._direct.send(to, request.data, request.idempotency_key)
        return SendPushResponse(receipt=receipt)
