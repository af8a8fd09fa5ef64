"""SmsService: what is sent here directly."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from crown import addresses, ids
from crown.auth import caller
from crown.clock import now
from crown.direct import DirectSend
from crown.door import Check, Context
from crown.errors import CapReached, Violation
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.sms_service_pb2 import (
    PreviewSmsRequest,
    PreviewSmsResponse,
    SendSmsRequest,
    SendSmsResponse,
)
from crown.recipients import Destination
from services.sms.gate import Gate
from services.sms.segments import count

# What each refusal of the gate says to people: the field, and what is allowed.
_REFUSALS = {
    "COUNTRY_NOT_ALLOWED": ("to", "must be a number of a country that texts go to"),
    "NUMBER_TYPE_NOT_ALLOWED": (
        "to",
        "must be a number that costs what others do: no premium rate, no pager",
    ),
    "OWN_NUMBER": ("to", "must not be a number that texts come from"),
    "EMPTY_TEXT": ("data", "must have something to say"),
}


class SmsService:
    """The servicer."""

    def __init__(self, direct: DirectSend, gate: Gate) -> None:
        self._direct = direct
        self._gate = gate

    def checks(self) -> Mapping[str, Check]:
        """What the door checks beside the rules in the protos, by method."""
        return {"SendSms": self._problems, "PreviewSms": self._preview_problems}

    async def SendSms(self, request: SendSmsRequest, _context: Context) -> SendSmsResponse:
        """Sends one text message now."""
        number = str(addresses.phone(request.to, "to"))
        await self._reserve(number, request)
        receipt = await self._direct.send(Destination("phone", number), request.data, request.idempotency_key)
        receipt.segments = count(self._gate.texts.compose(request.data)).segments
        return SendSmsResponse(receipt=receipt)

    async def PreviewSms(self, request: PreviewSmsRequest, _context: Context) -> PreviewSmsResponse:
        """Answers what would be sent."""
        text = self._gate.texts.compose(request.data)
        found = count(text)
        answer = PreviewSmsResponse(
            text=text, encoding=found.encoding, units=found.units, segments=found.segments
        )
        if request.to:
            number = str(addresses.phone(request.to, "to"))
            answer.country = self._gate.numbers.country(number)
            answer.sender = self._gate.numbers.sender(answer.country)
            answer.refusal = self._gate.refusal(number, request.data)
        elif not text:
            answer.refusal = "EMPTY_TEXT"
        return answer

    async def _reserve(self, number: str, request: SendSmsRequest) -> None:
        """Raises CapReached. A repetition has what it costs already."""
        key = request.idempotency_key
        attempt = ids.direct(caller().subject, "sms", key) if key else uuid4().hex
        # It has no category, which alone could say that it is urgent.
        reached = await self._gate.reserve(
            f"{attempt}:1", number, request.data, caller().subject, urgent=False
        )
        if reached is not None:
            wait_s = (reached.until - now()).total_seconds() if reached.until else None
            raise CapReached(
                f"the cap on texts is reached: {reached.cap}",
                retry_after_s=wait_s,
                metadata={"cap": reached.cap},
            )

    def _problems(self, request: SendSmsRequest) -> list[Violation]:
        number = addresses.phone(request.to, "to")
        if isinstance(number, Violation):
            return [number, *self._link_problems(request.data)]
        why = self._gate.refusal(number, request.data)
        refusal = [Violation(*_REFUSALS[why], why)] if why else []
        return [*refusal, *self._link_problems(request.data)]

    def _preview_problems(self, request: PreviewSmsRequest) -> list[Violation]:
        number = addresses.phone(request.to, "to") if request.to else ""
        wrong = [number] if isinstance(number, Violation) else []
        return [*wrong, *self._link_problems(request.data)]

    def _link_problems(self, data: NotificationData) -> list[Violation]:
        return self._gate.texts.links.problems(data)
