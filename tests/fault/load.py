"""Open-loop load: requests go out at a fixed rate whatever becomes of the earlier ones, as those of many clients
do. What they are follows from a seed. Most clients ask again with the same key until they hear yes or a final
no; some give up at the first answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from crown import ids
from crown.notification.v1 import ingest_service_pb2 as pb
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category, Channel, Priority
from tests.fault.history import Answer, Book, Request
from tests.fault.people import HERMIT, Person

CHANNELS = ("real_time", "push", "email", "sms", "in_app")
_SENDER = "feed"

_ANSWER_TIMEOUT_S = 10.0
_FIRST_PAUSE_S = 0.1
_PAUSE_MOST_S = 2.0
_PATIENCE_S = 90.0

# What these codes say cannot become true by asking again.
_FINAL_NO = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
# With these reasons the suite says that nothing was accepted. Without them, UNAVAILABLE may come from anywhere.
_NOTHING_ACCEPTED = {"BUS_UNAVAILABLE", "INTAKE_FULL", "NOT_READY"}


@dataclass(frozen=True, slots=True)
class Task:
    """A request and how its client behaves."""

    request: Request
    patient: bool


def plan(name: str, seed: int, count: int, people: Sequence[Person]) -> list[Task]:
    """`count` requests, the same for the same seed; `name` tells runs apart."""
    chance = random.Random(f"{name} {seed}")
    return [_task(f"{name}-{seed}-{number}", number, chance, people) for number in range(count)]


def _task(key: str, number: int, chance: random.Random, people: Sequence[Person]) -> Task:
    channel = CHANNELS[number % len(CHANNELS)]
    priority = chance.choices(("critical", "normal", "bulk"), (25, 60, 15))[0]
    some = 3 if chance.random() < 0.05 else 1
    users = tuple(one.user for one in chance.sample(list(people), some))
    if some == 1 and chance.random() < 0.01:
        users = (HERMIT.user,)
    # One in a hundred says nothing, which is to be refused and to leave no trace.
    text = "" if chance.random() < 0.01 else f"This is {key}."
    request = Request(
        key=key,
        notification_id=ids.keyed_notification(_SENDER, "SendNotification", key, 0),
        channel=channel,
        category="security" if priority == "critical" else "social",
        priority=priority,
        users=users,
        text=text,
    )
    return Task(request, patient=chance.random() >= 0.1)


class Load:
    """Sends through one gRPC channel to the gateway, as the service `feed`, and keeps the ledger."""

    def __init__(self, channel: grpc.aio.Channel, token: str, book: Book, chance: random.Random) -> None:
        self._stub = IngestServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._book = book
        self._chance = chance
        # Requests that have gone out so far, and numbers of them that somebody waits for.
        self._gone = 0
        self._marks: dict[int, asyncio.Event] = {}

    async def run(self, tasks: Iterable[Task], rate: float) -> float:
        """Sends all, `rate` of them a second, and waits until the last client stops asking. `tasks` is asked for one
        when its turn has come, so that it can end when something else does. Answers the rate at which they really
        went out."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        count = 0
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(self._send(task))
                count += 1
                self._gone += 1
                if mark := self._marks.get(self._gone):
                    mark.set()
                await asyncio.sleep(max(0.0, began + count / rate - loop.time()))
            return count / (loop.time() - began)

    async def reached(self, count: int) -> None:
        """Returns when so many requests have gone out."""
        if self._gone < count:
            await self._marks.setdefault(count, asyncio.Event()).wait()

    async def _send(self, task: Task) -> None:
        request = task.request
        self._book.asked(request)
        message = _message(request)
        give_up = time.monotonic() + _PATIENCE_S
        pause_s = _FIRST_PAUSE_S
        while True:
            began = time.time()
            answer, detail, again = await self._attempt(message)
            self._book.answered(request, answer, detail, began)
            if not (again and task.patient) or time.monotonic() > give_up:
                return
            await asyncio.sleep(pause_s * self._chance.uniform(0.5, 1.5))
            pause_s = min(_PAUSE_MOST_S, pause_s * 2)

    async def _attempt(self, message: pb.SendNotificationRequest) -> tuple[Answer, str, bool]:
        """What was answered, in what words, and whether asking again may help."""
        try:
            answer = await self._stub.SendNotification(
                message, metadata=self._metadata, timeout=_ANSWER_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            reason = _reason(error)
            detail = f"{error.code().name} {reason} {error.details()}"[:200]
            if error.code() in _FINAL_NO:
                return Answer.REFUSED, detail, False
            if error.code() is grpc.StatusCode.UNAVAILABLE and reason in _NOTHING_ACCEPTED:
                return Answer.REFUSED, detail, True
            return Answer.UNKNOWN, detail, True
        return Answer.ACCEPTED, answer.notification_id, False


def _message(request: Request) -> pb.SendNotificationRequest:
    several = len(request.users) > 1
    return pb.SendNotificationRequest(
        type=Channel.Type.Value(request.channel.upper()),
        user_id="" if several else request.users[0],
        user_ids=request.users if several else (),
        data=NotificationData(title=request.text, message=request.text),
        category=Category.Type.Value(request.category.upper()),
        priority=Priority.Type.Value(request.priority.upper()),
        idempotency_key=request.key,
    )


def _reason(error: grpc.aio.AioRpcError) -> str:
    """The stable reason of an error of the suite; empty where the error is somebody else's."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            info = error_details_pb2.ErrorInfo()
            for part in status_pb2.Status.FromString(value).details:
                if part.Unpack(info):
                    return str(info.reason)
    return ""
