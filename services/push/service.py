"""PushService: what is sent here directly."""

from __future__ import annotations

from collections.abc import Mapping

from crown import ids
from crown.direct import DirectSend
from crown.door import Check, Context
from crown.egress import Egress
from crown.errors import Violation
from crown.notification.v1.push_service_pb2 import SendPushRequest, SendPushResponse
from crown.notification.v1.types_pb2 import DeviceKind
from crown.recipients import Destination
from crown.rendering import Links
from services.push import subscription


class PushService:
    """The servicer. `egress` are the browsers' push services that may be called; None: none is."""

    def __init__(self, direct: DirectSend, links: Links, egress: Egress | None = None) -> None:
        self._direct = direct
        self._links = links
        self._egress = egress

    def checks(self) -> Mapping[str, Check]:
        """What the door checks beside the rules in the protos, by method."""
        return {"SendPush": self._problems}

    async def SendPush(self, request: SendPushRequest, _context: Context) -> SendPushResponse:
        """Sends one push message now."""
        to = Destination(
            ids.device(request.token),
            request.token,
            request.kind or DeviceKind.TOKEN,
            p256dh=request.web_push.p256dh,
            auth=request.web_push.auth,
        )
        receipt = await self._direct.send(to, request.data, request.idempotency_key, request.collapse_key)
        return SendPushResponse(receipt=receipt)

    def _problems(self, request: SendPushRequest) -> list[Violation]:
        target = subscription.problems(request.kind, request.token, request.web_push, self._egress)
        return [*self._links.problems(request.data), *target]
