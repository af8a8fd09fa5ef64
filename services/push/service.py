"""PushService: what is sent here directly."""

from __future__ import annotations

from collections.abc import Mapping

from crown import ids
from crown.direct import DirectSend
from crown.door import Check, Context
from crown.notification.v1.push_service_pb2 import SendPushRequest, SendPushResponse
from crown.recipients import Destination
from crown.rendering import Links


class PushService:
    """The servicer."""

    def __init__(self, direct: DirectSend, links: Links) -> None:
        self._direct = direct
        self._links = links

    def checks(self) -> Mapping[str, Check]:
        """What the door checks beside the rules in the protos, by method."""
        return {"SendPush": lambda request: self._links.problems(request.data)}

    async def SendPush(self, request: SendPushRequest, _context: Context) -> SendPushResponse:
        """Sends one push message now."""
        to = Destination(ids.device(request.token), request.token)
        return SendPushResponse(receipt=await self._direct.send(to, request.data, request.idempotency_key))
