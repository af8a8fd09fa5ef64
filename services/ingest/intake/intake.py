"""Takes notifications in, one or many at a time, by whatever RPC they came: each is checked, counted against its
sender's quota, resolved, and put on its lane, and has an outcome of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from crown import failpoint, logs, metrics, subjects, tracing, vault
from crown.auth import caller
from crown.bus import Bus
from crown.errors import CrownError, InvalidRequest, KeyReused, OutcomeUnknown, Unavailable, Violation
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.types_pb2 import Priority
from services.ingest.intake import accept
from services.ingest.intake.accept import Accepted
from services.ingest.intake.commit import GroupCommit
from services.ingest.intake.keys import KeyBook, Seen, Use
from services.ingest.intake.quota import Quota
from services.ingest.webhook.hosts import WebhookHosts

MESSAGES_A_UNIT = 500
_TURN = 32
Outcome = Accepted | CrownError


@dataclass(frozen=True, slots=True)
class Call:
    """How notifications came: the RPC, the idempotency key in its headers, if any, and the place that the first of
    them has among all that came by it."""

    method: str
    key: str
    first: int = 0


@dataclass(frozen=True, slots=True)
class _Keys:
    """What was learnt of idempotency keys: the error of each item whose key stood for another body, by
    identity, and the ids of those whose key had stood for nothing."""

    errors: dict[int, CrownError] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)


class Intake:
    """What a replica accepts into. Needs the bus alone; keys and quotas are better kept with the store and Redis."""

    def __init__(
        self,
        bus: Bus,
        keys: KeyBook,
        quota: Quota,
        data_key: vault.Key,
        links: Collection[str],
        webhooks: WebhookHosts,
    ) -> None:
        self._commits = {lane: GroupCommit(bus, subjects.intake(lane)) for lane in subjects.LANES.values()}
        self._accepted = {lane: metrics.ACCEPTED.labels(lane) for lane in self._commits}
        self._keys = keys
        self._quota = quota
        self._data_key = data_key
        self._links = links
        self._webhooks = webhooks

    def rules(self) -> accept.Rules:
        """What the caller's notifications have to keep to."""
        return accept.Rules(caller().subject, self._links, self._webhooks)

    async def take(self, request: SendNotificationRequest, call: Call) -> Accepted:
        """Accepts one that was checked. Raises CrownError."""
        accepted = self._resolve(request, caller().subject, call, call.first)
        if isinstance(accepted, CrownError):
            raise accepted
        tracing.note(notification_id=accepted.notification_id, lane=accepted.lane, kind=request.kind)
        fresh: set[str] = set()
        if accepted.request_hash:
            keys = await self._ask_keys([accepted])
            for error in keys.errors.values():
                raise error
            fresh = keys.fresh
        failure = await self._put([accepted], fresh)
        if failure is not None:
            raise failure
        return accepted

    async def take_all(
        self,
        requests: Sequence[SendNotificationRequest],
        call: Call,
        broken: Mapping[int, Sequence[Violation]] = MappingProxyType({}),
    ) -> list[Outcome]:
        """Checks and accepts each of several; their outcomes, in order. `broken` is what is wrong with what some of
        them, by index, came in."""
        rules = self.rules()
        outcomes: list[Outcome] = []
        for index, request in enumerate(requests):
            refused = _checked(request, rules, broken.get(index, ()))
            outcomes.append(refused or self._resolve(request, rules.sender, call, call.first + index))
            if index % _TURN == _TURN - 1:
                # Hundreds take tens of milliseconds: the calls of others go on in between.
                await asyncio.sleep(0)
        keys = await self._ask_keys([outcome for outcome in outcomes if isinstance(outcome, Accepted)])
        outcomes = [keys.errors.get(id(outcome), outcome) for outcome in outcomes]
        good = _once([outcome for outcome in outcomes if isinstance(outcome, Accepted)])
        if len(good) == 1:
            logs.bind(notification_id=good[0].notification_id)
        failed = await self._store(good, keys.fresh)
        return [
            failed.get(outcome.notification_id, outcome) if isinstance(outcome, Accepted) else outcome
            for outcome in outcomes
        ]

    def _resolve(self, request: SendNotificationRequest, sender: str, call: Call, place: int) -> Outcome:
        refused = accept.beyond_scope(request, caller()) or self._quota.refusal(
            sender, accept.recipients(request)
        )
        if refused is not None:
            return refused

        def share(asked: Priority.Type.ValueType, recipients: int) -> Priority.Type.ValueType:
            return self._quota.lane(sender, asked, recipients)

        return accept.resolve(request, sender, call.method, call.key, place, self._data_key, share)

    async def _ask_keys(self, accepted: Sequence[Accepted]) -> _Keys:
        """What the idempotency keys of these stood for before."""
        keyed = [item for item in accepted if item.request_hash]
        seen = await asyncio.gather(
            *(
                self._keys.seen(Use(item.notification_id, item.request_hash, item.former_hash))
                for item in keyed
            )
        )
        found = _Keys()
        first: dict[str, bytes] = {}
        for item, before in zip(keyed, seen, strict=True):
            # Two items of one call may carry the same key, too.
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
        """Puts notifications on the intake: many in one unit, so that many cost few fsyncs. Answers the error of
        each that was not stored, by id. `fresh` are those whose key had stood for nothing."""
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
        failpoint.reach("accept.before_publish")
        # Of several none is the one that it is about.
        one = unit[0].notification_id if len(unit) == 1 else ""
        try:
            with tracing.span(
                "publish intake", tracing.Kind.PRODUCER, lane=lane, notification_id=one, count=len(unit)
            ):
                await self._commits[lane].put([part for item in unit for part in item.parts])
        except Unavailable as error:
            metrics.REFUSED.labels(error.reason).inc(len(unit))
            await self._keys.forget(fresh & {item.notification_id for item in unit})
            return error
        except OutcomeUnknown as error:
            return error
        failpoint.reach("accept.after_publish")
        self._accepted[lane].inc(len(unit))
        return None


def _checked(
    request: SendNotificationRequest, rules: accept.Rules, more: Sequence[Violation]
) -> CrownError | None:
    broken = [*more, *accept.all_problems(request, rules)]
    return InvalidRequest.of(broken) if broken else None


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


def _once(accepted: list[Accepted]) -> list[Accepted]:
    """Without those that mean the same notification again."""
    return list({item.notification_id: item for item in accepted}.values())
