"""IngestService: accepts notifications and tells what became of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from crown import metrics, problem, subjects, vault
from crown.auth import caller
from crown.bus import Bus
from crown.errors import (
    CrownError,
    InvalidRequest,
    KeyReused,
    NotFound,
    OutcomeUnknown,
    Unavailable,
    Violation,
)
from crown.notification.v1 import ingest_service_pb2 as pb
from crown.notification.v1.notification_pb2 import Notification
from crown.notification.v1.types_pb2 import NotificationStatus
from crown.store import Database
from services.ingest import accept, timeline
from services.ingest.accept import Accepted
from services.ingest.commit import GroupCommit
from services.ingest.keys import KeyBook, Seen, Use
from services.ingest.overview import Overview
from services.ingest.timeline import Timeline
from services.ingest.webhook.hosts import WebhookHosts

RECIPIENTS_MOST = 10_000
MESSAGES_A_UNIT = 500
_NONE = "there is no notification with this id"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class _Keys:
    """What was learnt of idempotency keys: the error of each item whose key stood for another body, by
    identity, and the ids of those whose key had stood for nothing."""

    errors: dict[int, CrownError] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)


_NO_KEYS = _Keys()


class IngestService:
    """The servicer. Accepting needs the bus alone; the store is only asked about keys and read for answers."""

    def __init__(
        self,
        bus: Bus,
        db: Database,
        redis: Redis,
        data_key: vault.Key,
        hosts: Collection[str],
        webhook_hosts: WebhookHosts,
    ) -> None:
        self._commits = {lane: GroupCommit(bus, subjects.intake(lane)) for lane in subjects.LANES.values()}
        self._accepted = {lane: metrics.ACCEPTED.labels(lane) for lane in self._commits}
        self._keys = KeyBook(redis, db)
        self._overview = Overview(db, self._keys)
        self._timeline = Timeline(db)
        self._data_key = data_key
        self._hosts = hosts
        self._webhook_hosts = webhook_hosts

    def checks(self) -> Mapping[str, Any]:
        """What the door checks beside the rules in the protos, by method."""
        return {"SendNotification": lambda request: accept.problems(request, self._rules())}

    def _rules(self) -> accept.Rules:
        return accept.Rules(caller().subject, self._hosts, self._webhook_hosts)

    async def SendNotification(
        self, request: pb.SendNotificationRequest, context: Any
    ) -> pb.SendNotificationResponse:
        """Accepts one notification."""
        accepted = accept.resolve(
            request, caller().subject, "SendNotification", _header_key(context), 0, self._data_key
        )
        keys = await self._ask_keys([accepted]) if accepted.request_hash else _NO_KEYS
        for error in keys.errors.values():
            raise error
        failure = await self._put([accepted], keys.fresh)
        if failure is not None:
            raise failure
        return pb.SendNotificationResponse(
            notification_id=accepted.notification_id, status=NotificationStatus.ACCEPTED
        )

    async def SendBulkNotifications(
        self, request: pb.SendBulkNotificationsRequest, context: Any
    ) -> pb.SendBulkNotificationsResponse:
        """Accepts each notification on its own."""
        _few_enough(request)
        key = _header_key(context)
        outcomes: list[Accepted | CrownError] = [
            self._resolve_item(item, key, index) for index, item in enumerate(request.notifications)
        ]
        good = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
        keys = await self._ask_keys(good)
        outcomes = [keys.errors.get(id(outcome), outcome) for outcome in outcomes]
        good = _once([outcome for outcome in outcomes if isinstance(outcome, Accepted)])
        failed = await self._store(good, keys.fresh)
        if good and len(failed) == len(good):
            raise next(iter(failed.values()))
        outcomes = [
            failed.get(outcome.notification_id, outcome) if isinstance(outcome, Accepted) else outcome
            for outcome in outcomes
        ]
        return pb.SendBulkNotificationsResponse(results=[_result(outcome) for outcome in outcomes])

    async def ExplainNotification(
        self, request: pb.ExplainNotificationRequest, _context: Any
    ) -> pb.ExplainNotificationResponse:
        """Tells the story of a notification."""
        found = await self._overview.document(request.notification_id)
        if found is None or not _is_theirs(found["sender"]):
            raise NotFound(_NONE)
        limit = request.limit if request.HasField("limit") else timeline.LIMIT
        page = await self._timeline.page(found, request.user_id, limit, request.cursor)
        return pb.ExplainNotificationResponse(
            notification_id=request.notification_id, entries=page.entries, next_cursor=page.cursor
        )

    async def GetNotification(
        self, request: pb.GetNotificationRequest, _context: Any
    ) -> pb.GetNotificationResponse:
        """Tells what became of a notification."""
        found: Notification | None = await self._overview.find(request.notification_id)
        if found is None or not _is_theirs(found.sender):
            raise NotFound(_NONE)
        return pb.GetNotificationResponse(notification=found)

    def _resolve_item(self, item: pb.SendNotificationRequest, key: str, index: int) -> Accepted | CrownError:
        broken = accept.all_problems(item, self._rules())
        if broken:
            return InvalidRequest.of(broken)
        return accept.resolve(item, caller().subject, "SendBulkNotifications", key, index, self._data_key)

    async def _ask_keys(self, accepted: Sequence[Accepted]) -> _Keys:
        """What the idempotency keys of these stood for before."""
        keyed = [item for item in accepted if item.request_hash]
        seen = await asyncio.gather(
            *(self._keys.seen(Use(item.notification_id, item.request_hash)) for item in keyed)
        )
        found = _Keys()
        first: dict[str, bytes] = {}
        for item, before in zip(keyed, seen, strict=True):
            # Two items of one bulk may carry the same key, too.
            other = first.setdefault(item.notification_id, item.request_hash) != item.request_hash
            if before is Seen.ANOTHER or other:
                found.errors[id(item)] = KeyReused(
                    "this idempotency key was used with another body",
                    metadata={"notification_id": item.notification_id},
                )
            elif before is Seen.NOTHING:
                found.fresh.add(item.notification_id)
        return found

    async def _store(self, accepted: list[Accepted], fresh: set[str]) -> dict[str, CrownError]:
        """Puts notifications on the intake: many in one unit, so that a bulk costs few fsyncs. Answers the
        error of each that was not stored, by id. `fresh` are those whose key had stood for nothing."""
        units = list(_units(accepted))
        results = await asyncio.gather(*(self._put(unit, fresh) for unit in units))
        return {
            item.notification_id: error
            for unit, error in zip(units, results, strict=True)
            if error is not None
            for item in unit
        }

    async def _put(self, unit: list[Accepted], fresh: set[str]) -> CrownError | None:
        lane = unit[0].lane
        try:
            await self._commits[lane].put([part for item in unit for part in item.parts])
        except Unavailable as error:
            metrics.REFUSED.labels(error.reason).inc(len(unit))
            await self._keys.forget(fresh & {item.notification_id for item in unit})
            return error
        except OutcomeUnknown as error:
            return error
        self._accepted[lane].inc(len(unit))
        return None


def _is_theirs(sender: str) -> bool:
    """Whether the caller may look at what `sender` sent."""
    who = caller()
    return who.use != "service" or who.subject == sender


def _units(accepted: list[Accepted]) -> Iterator[list[Accepted]]:
    """What goes together: one lane, a few hundred messages, and never half a notification."""
    for lane in subjects.LANES.values():
        unit: list[Accepted] = []
        count = 0
        for item in accepted:
            if item.lane != lane:
                continue
            if unit and count + len(item.parts) > MESSAGES_A_UNIT:
                yield unit
                unit, count = [], 0
            unit.append(item)
            count += len(item.parts)
        if unit:
            yield unit


def _header_key(context: Any) -> str:
    """The idempotency key of the header, empty where there is none. Raises InvalidRequest."""
    for name, value in context.invocation_metadata() or ():
        if name == "idempotency-key":
            if not isinstance(value, str) or not _KEY.fullmatch(value):
                what = "must be 1 to 255 printable ASCII characters without spaces"
                raise InvalidRequest.of([Violation("Idempotency-Key", what, "string.pattern")])
            return value
    return ""


def _few_enough(request: pb.SendBulkNotificationsRequest) -> None:
    count = sum(len(item.user_ids) or 1 for item in request.notifications)
    if count > RECIPIENTS_MOST:
        what = f"must have at most {RECIPIENTS_MOST} recipients in all, and has {count}"
        raise InvalidRequest.of([Violation("notifications", what, "recipients")])


def _once(accepted: list[Accepted]) -> list[Accepted]:
    """Without those that mean the same notification again."""
    return list({item.notification_id: item for item in accepted}.values())


def _result(outcome: Accepted | CrownError) -> pb.BulkResult:
    if isinstance(outcome, CrownError):
        return pb.BulkResult(error=problem.status(outcome))
    return pb.BulkResult(notification_id=outcome.notification_id, status=NotificationStatus.ACCEPTED)
