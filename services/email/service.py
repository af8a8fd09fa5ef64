"""The RPCs of the e-mail channel."""

from __future__ import annotations

from crown import addresses
from crown.direct import DirectSend
from crown.door import Context
from crown.errors import InvalidRequest, Violation
from crown.notification.v1.email_service_pb2 import SendEmailRequest, SendEmailResponse
from crown.recipients import Destination


class EmailServicer:
    """EmailService: what is sent here directly."""

    def __init__(self, direct: DirectSend) -> None:
        self._direct = direct

    async def SendEmail(self, request: SendEmailRequest, _context: Context) -> SendEmailResponse:
        """Sends one e-mail now."""
        to = addresses.email(request.to, "to")
        if isinstance(to, Violation):
            raise InvalidRequest.of([to])
        receipt = await self._direct.send(Destination("email", to), request.data, request.idempotency_key)
        return SendEmailResponse(receipt=receipt)
