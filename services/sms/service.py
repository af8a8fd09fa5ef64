"""The RPCs of the SMS channel."""

from __future__ import annotations

from crown import addresses
from crown.direct import DirectSend
from crown.door import Context
from crown.errors import InvalidRequest, Violation
from crown.notification.v1.sms_service_pb2 import SendSmsRequest, SendSmsResponse
from crown.recipients import Destination


class SmsServicer:
    """SmsService: what is sent here directly."""

    def __init__(self, direct: DirectSend) -> None:
        self._direct = direct

    async def SendSms(self, request: SendSmsRequest, _context: Context) -> SendSmsResponse:
        """Sends one text message now."""
        to = addresses.phone(request.to, "to")
        if isinstance(to, Violation):
            raise InvalidRequest.of([to])
        receipt = await self._direct.send(Destination("phone", to), request.data, request.idempotency_key)
        return SendSmsResponse(receipt=receipt)
