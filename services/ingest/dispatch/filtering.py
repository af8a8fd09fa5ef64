"""Asks a filter, where one is configured, about what is about to go out: one call for up to 1,000 items, with a time
limit and a breaker. Where it does not answer everything is sent. It is never asked about security, nor about what is
critical; what the answers do is in verdict.py."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import grpc
from google.protobuf.message import DecodeError
from redis.asyncio import Redis

from crown import logs, metrics, vault
from crown.circuit import Call, Circuit, Limits
from crown.clock import now
from crown.ledger import row_id
from crown.notification.v1.events_pb2 import IntakeEvent, NotificationContent
from crown.notification.v1.filter_service_pb2 import (
    FilterDecision,
    FilterItem,
    FilterNotificationsRequest,
    FilterNotificationsResponse,
)
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category, FilterAction, Priority
from crown.store import Database
from crown.tls import Identity, Link
from crown.token_file import Token
from crown.vault import Key
from services.ingest.dispatch import verdict
from services.ingest.dispatch.history import History, Past
from services.ingest.dispatch.orders import Order, expire_time
from services.ingest.dispatch.verdict import SEND, Verdict

log = logs.get(__name__)

ITEMS_MOST = 1_000
# What a filter's certificate has to name, where its address is but a number.
_NAME = "ingest-filter"
_METHOD = "/crown.notification.v1.FilterService/FilterNotifications"
# A filter that is away is asked again after a second, and then more and more rarely.
_LIMITS = Limits(calls_least=3, slow_s=math.inf, open_s=1.0, open_most_s=10.0)
_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1_000))


@dataclass(frozen=True, slots=True)
class _Question:
    """An item, and the order and person that it is about."""

    order: Order
    user_id: str
    item: FilterItem


def _method(
    channel: grpc.aio.Channel,
) -> grpc.aio.UnaryUnaryMultiCallable[FilterNotificationsRequest, bytes]:
    """The call whose answer is decoded here: gRPC hands out None for what cannot be."""
    return channel.unary_unary(_METHOD, FilterNotificationsRequest.SerializeToString)


class FilterClient:
    """The connection to a filter. `limit_s` is what a call may take."""

    def __init__(self, address: str, token: Token, limit_s: float, identity: Identity | None = None) -> None:
        self._link = Link(address, identity, _NAME, _OPTIONS)
        self._token = token
        self._limit_s = limit_s
        self._circuit = Circuit(_LIMITS)
        self._away = False

    async def ask(self, items: Sequence[FilterItem]) -> list[FilterDecision]:
        """The answers; none where it is away."""
        loop = asyncio.get_running_loop()
        call = self._circuit.begin(loop.time())
        if call is None:
            metrics.FILTER_CALLS.labels("not_asked").observe(0)
            return []
        try:
            metadata = (("authorization", f"Bearer {await self._token.current()}"),)
            request = FilterNotificationsRequest(items=items)
            raw = await self._link.stub(_method)(request, metadata=metadata, timeout=self._limit_s)
            answer = FilterNotificationsResponse.FromString(raw)
        except grpc.aio.AioRpcError as error:
            return self._failed(call, error.code().name, loop.time())
        except DecodeError:
            return self._failed(call, "UNDECODABLE", loop.time())
        except BaseException:
            self._circuit.forget(call)
            raise
        self._circuit.succeeded(call, loop.time())
        self._told("")
        metrics.FILTER_CALLS.labels("answered").observe(loop.time() - call.began)
        return list(answer.decisions)

    def _failed(self, call: Call, error: str, present: float) -> list[FilterDecision]:
        self._circuit.failed(call, present)
        self._told(error)
        outcome = "late" if error == "DEADLINE_EXCEEDED" else "failed"
        metrics.FILTER_CALLS.labels(outcome).observe(present - call.began)
        return []

    def _told(self, error: str) -> None:
        """Logs what has changed."""
        if bool(error) != self._away:
            self._away = bool(error)
            if error:
                log.warning("filter_away", error=error)
            else:
                log.info("filter_back")

    async def close(self) -> None:
        """Ends the connection."""
        await self._link.close()


class Filtering:
    """Has a filter look at orders that are decided."""

    def __init__(self, client: FilterClient, redis: Redis, db: Database, data_key: Key) -> None:
        self._client = client
        self._history = History(redis, db)
        self._data_key = data_key

    async def screen(self, orders: Iterable[Order]) -> None:
        """Changes the decisions of these orders as the filter wants it."""
        wanted = [order for order in orders if _asked_about(order.event)]
        people = list({user_id for order in wanted for user_id in order.decisions})
        if not people:
            return
        present = now()
        pasts = await self._history.load(people, present)
        questions = self._questions(wanted, pasts, present)
        batches = [questions[at : at + ITEMS_MOST] for at in range(0, len(questions), ITEMS_MOST)]
        answers = await asyncio.gather(*(self._client.ask([one.item for one in batch]) for batch in batches))
        verdicts = [
            found for pair in zip(batches, answers, strict=True) for found in _verdicts(*pair, present)
        ]
        for question, found in zip(questions, verdicts, strict=True):
            decisions = question.order.decisions
            decisions[question.user_id] = verdict.apply(decisions[question.user_id], found)
        went = (
            (question.user_id, question.item.content_hash)
            for question, found in zip(questions, verdicts, strict=True)
            if found.action != FilterAction.DROP
        )
        await self._history.note(pasts, went, present)

    def _questions(
        self, orders: Iterable[Order], pasts: dict[str, Past], present: datetime
    ) -> list[_Question]:
        found = []
        for order in orders:
            content_hash = self._content_hash(order)
            for user_id, decisions in order.decisions.items():
                if channels := verdict.undecided(decisions):
                    item = _item(order.event, user_id, content_hash)
                    item.channels.extend(channels)
                    past = pasts[user_id]
                    item.history.CopyFrom(past.facts(order.event.category, content_hash, present))
                    # What comes later in this turn follows this one.
                    past.add(content_hash, present)
                    found.append(_Question(order, user_id, item))
        return found

    def _content_hash(self, order: Order) -> bytes:
        content = NotificationContent.FromString(order.content_key.open(order.event.content.ciphertext))
        # Equal data may come in different bytes: the order of its maps is anybody's.
        data = NotificationData.FromString(content.data).SerializeToString(deterministic=True)
        return vault.tag(self._data_key, "content", data.hex())


def _asked_about(event: IntakeEvent) -> bool:
    return event.category != Category.SECURITY and event.priority != Priority.CRITICAL


def _item(event: IntakeEvent, user_id: str, content_hash: bytes) -> FilterItem:
    return FilterItem(
        item_id=row_id(event.notification_id, user_id),
        notification_id=event.notification_id,
        user_id=user_id,
        sender=event.sender,
        kind=event.kind,
        category=event.category,
        priority=event.priority,
        create_time=event.create_time,
        expire_time=event.expire_time if event.HasField("expire_time") else None,
        group_hash=event.group_hash,
        actor_hash=event.actor_hash,
        content_hash=content_hash,
    )


def _verdicts(
    questions: Sequence[_Question], answers: Iterable[FilterDecision], present: datetime
) -> list[Verdict]:
    """One for each question: what makes no sense, or was not asked, counts as no answer."""
    told: dict[str, FilterDecision] = {}
    for answer in answers:
        told.setdefault(answer.item_id, answer)
    found = []
    for question in questions:
        answered = told.pop(question.item.item_id, FilterDecision())
        read = verdict.read(answered, expire_time(question.order.event), present)
        if answered.item_id:
            _count(answered, read)
        found.append(read or SEND)
    metrics.FILTER_ANSWERS.labels("not_asked").inc(len(told))
    return found


def _count(answer: FilterDecision, read: Verdict | None) -> None:
    action = FilterAction.Type.Name(read.action) if read else "senseless"
    metrics.FILTER_ANSWERS.labels(action).inc()
    if 0 <= answer.score <= 1:
        metrics.FILTER_SCORES.observe(answer.score)
