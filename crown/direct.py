"""Direct sends: one attempt, now, for a caller that waits for the provider's answer. A document in `direct`
is written before the provider is called, so that the same key never sends twice, on any replica. Where a provider
surely did not take it the next one is tried, as long as the caller waits."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from uuid import uuid4

from pymongo.errors import DuplicateKeyError, PyMongoError

from crown import ids, logs, subjects
from crown.auth import caller
from crown.clock import Clock, now
from crown.errors import InProgress, OutcomeUnknown, ProviderUnavailable, Refused, Suppressed
from crown.notification.v1.channel_send_pb2 import SendReceipt
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category, Channel, DeliveryState, SuppressionReason
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from crown.recipients import Destination
from crown.route import Route
from crown.store import Database, Document
from crown.suppressions import Suppressions

log = logs.get(__name__)

# A send without a receipt that is older was broken off: no provider takes longer than 10 s to answer.
_LEASE = timedelta(seconds=20)


class DirectSend:
    """Direct sends on one channel. `drain` before the route is closed."""

    def __init__(
        self,
        db: Database,
        channel: Channel.Type.ValueType,
        route: Route,
        suppressions: Suppressions,
        clock: Clock = now,
    ) -> None:
        self._rows = db.direct
        self._type = channel
        self._channel = subjects.CHANNELS[channel]
        self._route = route
        self._suppressions = suppressions
        self._clock = clock
        self._sending: set[asyncio.Task[SendReceipt]] = set()

    async def send(
        self,
        to: Destination,
        data: NotificationData,
        key: str,
        collapse_key: str = "",
        template_id: str = "",
        locale: str = "",
    ) -> SendReceipt:
        """Sends `data` to `to` for the caller; with a key that was used before, answers what became of it
        then. Raises Suppressed, Refused, ProviderUnavailable, InProgress and OutcomeUnknown."""
        delivery_id = ids.direct(caller().subject, self._channel, key) if key else uuid4().hex
        if not await self._claim(delivery_id):
            return await self._earlier(delivery_id)
        if (why := await self._suppressed(to)) is not None:
            await self._release(delivery_id)
            raise Suppressed("nothing is sent to this address any more", metadata={"why": why})
        attempt, left = (
            _attempt(delivery_id, to, data, self._clock(), collapse_key, template_id, locale),
            asyncio.Event(),
        )
        # In a task of its own: a caller who leaves must not cut off a call that the provider has heard.
        task = asyncio.create_task(self._attempt(attempt, left), name=f"direct {self._channel}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            left.set()
            raise

    async def drain(self) -> None:
        """Waits for the sends whose callers have left; a provider ends each within 10 s."""
        if self._sending:
            await asyncio.wait(self._sending)

    async def _suppressed(self, to: Destination) -> str | None:
        if self._type == Channel.PUSH:
            return None
        found = (await self._suppressions.among(self._type, [to.address])).get(to.address)
        return SuppressionReason.Type.Name(found.reason) if found else None

    async def _claim(self, delivery_id: str) -> bool:
        try:
            await self._rows.insert_one({"_id": delivery_id, "time": self._clock()})
        except DuplicateKeyError:
            return False
        return True

    async def _earlier(self, delivery_id: str) -> SendReceipt:
        row = await self._rows.find_one({"_id": delivery_id})
        if row is None:
            raise ProviderUnavailable("the earlier attempt has just failed; retry")
        if "state" not in row and self._clock() - row["time"] < _LEASE:
            raise InProgress("the same key is being sent right now; retry")
        return _told(row)

    async def _attempt(self, attempt: Attempt, left: asyncio.Event) -> SendReceipt:
        name, outcome = await self._send(attempt, left)
        log.info("direct_send", delivery_id=attempt.delivery_id, outcome=type(outcome).__name__)
        if isinstance(outcome, Retry | Snooze):
            await self._release(attempt.delivery_id)
            raise ProviderUnavailable(
                f"{name or 'every provider'} refused for now; nothing was sent",
                retry_after_s=outcome.after_s or 1.0,
                metadata={"provider": name, "code": outcome.error},
            )
        made = {"provider": name, **_made(outcome)}
        await self._keep(attempt.delivery_id, made)
        return _told({"_id": attempt.delivery_id, **made})

    async def _send(self, attempt: Attempt, left: asyncio.Event) -> tuple[str, Outcome]:
        """What the last provider said that was tried, and its name. Another one is tried only where this one
        surely did not take it, never after an Unknown, and only until the caller has `left`."""
        tried: list[str] = []
        outcome: Outcome = Snooze("PROVIDERS_OUT", self._route.wait_s())
        while not left.is_set():
            await self._route.room(1)
            turn = self._route.choose(tried[-1] if tried else "", tried, careful=True)
            if turn is None:
                break
            tried.append(turn.provider.name)
            outcome = await turn.send(attempt)
            if not isinstance(outcome, Retry | Snooze):
                break
        return tried[-1] if tried else "", outcome

    async def _keep(self, delivery_id: str, made: Document) -> None:
        try:
            await self._rows.update_one({"_id": delivery_id}, {"$set": made})
        except PyMongoError as error:
            # This caller still learns what became of it; a repetition will hear that nobody knows.
            log.warning("receipt_not_kept", delivery_id=delivery_id, error=type(error).__name__)

    async def _release(self, delivery_id: str) -> None:
        try:
            await self._rows.delete_one({"_id": delivery_id})
        except PyMongoError as error:
            # A repetition will hear that nobody knows, and send nothing: the lesser harm.
            log.warning("claim_not_released", delivery_id=delivery_id, error=type(error).__name__)


def _attempt(
    delivery_id: str,
    to: Destination,
    data: NotificationData,
    time: datetime,
    collapse_key: str,
    template_id: str,
    locale: str,
) -> Attempt:
    return Attempt(
        delivery_id=delivery_id,
        # There is no notification; its place is taken so that ledgers and collapse ids tell sends apart.
        notification_id=delivery_id,
        user_id="",
        number=1,
        kind="",
        category=Category.CATEGORY_UNSPECIFIED,
        data=data,
        destinations=(to,),
        create_time=time,
        expire_time=None,
        template_id=template_id,
        collapse_key=collapse_key,
        locale=locale,
    )


def _made(outcome: Delivered | Discard | Unknown) -> Document:
    """What is kept of an attempt that nobody may repeat."""
    match outcome:
        case Delivered(message_id):
            return {"state": DeliveryState.DELIVERED_TO_PROVIDER, "provider_message_id": message_id}
        case Discard(reason, error):
            return {"state": DeliveryState.FAILED, "reason": reason, "error": error}
        case Unknown(error):
            return {"state": DeliveryState.UNKNOWN, "error": error}


def _told(row: Document) -> SendReceipt:
    """The receipt in `row`. Raises Refused and OutcomeUnknown; the latter also where the attempt broke off."""
    provider, code = row.get("provider", ""), row.get("error", "")
    match row.get("state"):
        case DeliveryState.DELIVERED_TO_PROVIDER:
            return SendReceipt(
                delivery_id=row["_id"],
                state=DeliveryState.DELIVERED_TO_PROVIDER,
                provider=provider,
                provider_message_id=row["provider_message_id"],
            )
        case DeliveryState.FAILED:
            raise Refused(
                f"{provider} refused for good: {row['reason']}",
                metadata={"provider": provider, "why": row["reason"], "code": code},
            )
        case _:
            raise OutcomeUnknown(
                "it may have been sent; the same key will not send it again",
                metadata={"provider": provider, "code": code},
            )
