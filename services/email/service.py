"""EmailService: what is sent here directly."""

from __future__ import annotations

from collections.abc import Mapping

from crown import addresses
from crown.direct import DirectSend
from crown.door import Check, Context
from crown.errors import Violation
from crown.notification.v1.email_service_pb2 import SendEmailRequest, SendEmailResponse
from crown.recipients import Destination
from crown.rendering import Links


class EmailService:
    """The servicer."""

    def __init__(self, direct: DirectSend, links: Links) -> None:
        self._direct = direct
        self._links = links

    def checks(self) -> Mapping[str, Check]:
        """What the door checks beside the rules in the protos, by method."""
        return {"SendEmail": self._problems}

    async def SendEmail(self, request: SendEmailRequest, _context: Context) -> SendEmailResponse:
        """Sends one e-mail now."""
        to = Destination("email", str(addresses.email(request.to, "to")))
        receipt = await self._direct.send(
            to,
            request.data,
            request.idempotency_key,
            template_id=request.template_id,
            locale=request.locale,
        )
        return SendEmailResponse(receipt=receipt)

    def _problems(self, request: SendEmailRequest) -> list[Violation]:
        to = addresses.email(request.to, "to")
        return [*([to] if isinstance(to, Violation) else []), *self._links.problems(request.data)]
