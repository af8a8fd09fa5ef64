"""What has to be right before a text is handed to any provider: there is something to say, the number may be
texted, and no cap is reached. Asked for what comes over the bus and for direct sends alike."""

from __future__ import annotations

from dataclasses import dataclass

from crown import metrics
from crown.notification.v1.notification_pb2 import NotificationData
from services.sms.caps import Caps, Expense, Reached
from services.sms.numbers import Numbers
from services.sms.segments import count
from services.sms.text import Texts


@dataclass(frozen=True, slots=True)
class Gate:
    """The rules of this suite for texts."""

    texts: Texts
    numbers: Numbers
    caps: Caps

    def refusal(self, number: str, data: NotificationData) -> str:
        """Why this may never be sent, as a stable word; empty where it may. `number` is in E.164 form."""
        why = self.numbers.refusal(number) or ("" if self.texts.compose(data) else "EMPTY_TEXT")
        if why:
            metrics.TEXTS_REFUSED.labels(why).inc()
        return why

    async def reserve(
        self, attempt: str, number: str, data: NotificationData, caller: str, *, urgent: bool
    ) -> Reached | None:
        """Takes what it costs out of the caps for the attempt that `attempt` names and `caller` has made; the cap
        that is reached. What is `urgent` may use the reserve."""
        country, segments = self.numbers.country(number), count(self.texts.compose(data)).segments
        reached = await self.caps.reserve(Expense(attempt, number, country, segments, caller, urgent))
        if reached is None:
            metrics.SEGMENTS.labels(country).inc(segments)
        else:
            metrics.TEXTS_REFUSED.labels(f"CAP_{reached.cap}".upper()).inc()
        return reached
