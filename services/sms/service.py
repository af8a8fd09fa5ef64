"""SmsService: what is sent here directly."""

from __future__ import annotations

from collections.abc import Mapping

from crown import addresses
from crown.direct import DirectSend
from crown.door import Check, Context
from crown.errors import NotFound, Violation
from crown.notification.v1.sms_service_pb2 import (
    PreviewSmsRequest,
    PreviewSmsResponse,
    SendSmsRequest,
    SendSmsResponse,
)
from crown.recipients import Destination
from crown.rendering import Links


class SmsService:
    """The servicer."""

    def __init__(self, direct: DirectSend, links: Links) -> None:
        self._direct = direct
        self._links = links

    def checks(self) -> Mapping[str, Check]:
        """What the door checks beside the rules in the protos, by method."""
        return {"SendSms": self._problems}

    async def SendSms(self, request: SendSmsRequest, _context: Context) -> SendSmsResponse:
        """Sends one text message now."""
        to = Destination("phone", str(addresses.phone(request.to, "to")))
        return SendSmsResponse(receipt=await self._direct.send(to, request.data, request.idempotency_key))

    async def PreviewSms(self, _request: PreviewSmsRequest, _context: Context) -> PreviewSmsResponse:
        """Not there yet."""
        raise NotFound("not there yet")

    def _problems(self, request: SendSmsRequest) -> list[Violation]:
        to = addresses.phone(request.to, "to")
        return [*([to] if isinstance(to, Violation) else []), *self._links.problems(request.data)]
