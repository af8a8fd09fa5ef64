"""Sends one notification for each decision, and looks for the decision in its timeline, as its sender may."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import uuid4

import grpc

from crown.notification.v1.filter_service_pb2 import FilterItem, FilterNotificationsRequest
from crown.notification.v1.filter_service_pb2_grpc import FilterServiceStub
from crown.notification.v1.ingest_service_pb2 import ExplainNotificationRequest, SendNotificationRequest
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.timeline_pb2 import TimelineEntry
from crown.notification.v1.types_pb2 import Channel, DeliveryState, TimelineEvent

# A decision that comes too late is none: everything is sent then. So each may be tried some times.
TRIES = 5
PATIENCE_S = 15.0


@dataclass(frozen=True)
class Case:
    """A notification, and what its timeline has to say."""

    decision: str
    kind: str
    channels: list[Channel.Type]
    channel: Channel.Type
    state: DeliveryState.Type
    reason: str
    # Whether it is the second time that the person is told so.
    again: bool = False


CASES = [
    Case("SEND by push alone", "mention", [Channel.PUSH, Channel.EMAIL], Channel.EMAIL,
         DeliveryState.SUPPRESSED, "FILTERED: BETTER_CHANNEL"),
    Case("HOLD", "follow", [Channel.PUSH, Channel.IN_APP], Channel.PUSH,
         DeliveryState.DEFERRED, "FILTER_HOLD"),
    Case("DROP", "campaign", [Channel.IN_APP], Channel.IN_APP,
         DeliveryState.SUPPRESSED, "FILTERED: LOW_INTEREST"),
    Case("DROP the second time", "comment", [Channel.IN_APP], Channel.IN_APP,
         DeliveryState.SUPPRESSED, "FILTERED: REPEATED", again=True),
]  # fmt: skip


class Sender:
    """A service that sends, and reads what became of it."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._ingest = IngestServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def send(self, case: Case, user_id: str) -> str:
        """The id of a new notification."""
        request = SendNotificationRequest(
            user_id=user_id,
            kind=case.kind,
            channels=case.channels,
            data=NotificationData(title=f"An example of {case.kind}"),
            idempotency_key=uuid4().hex,
        )
        answer = await self._ingest.SendNotification(request, metadata=self._metadata, timeout=10)
        return answer.notification_id

    async def decided(self, notification_id: str, channel: Channel.Type) -> TimelineEntry | None:
        """What was decided for the channel; None where nothing is decided in time."""
        request = ExplainNotificationRequest(notification_id=notification_id)
        until = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < until:
            try:
                answer = await self._ingest.ExplainNotification(request, metadata=self._metadata, timeout=10)
            except grpc.aio.AioRpcError as error:
                # Until dispatch has written it down there is nothing of it.
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            else:
                if found := _first(answer.entries, lambda entry: entry.channel == channel):
                    return found
            await asyncio.sleep(0.1)
        return None


def _first(entries: Iterable[TimelineEntry], fits: Callable[[TimelineEntry], bool]) -> TimelineEntry | None:
    return next((entry for entry in entries if entry.event == TimelineEvent.DECIDED and fits(entry)), None)


async def see(sender: Sender, case: Case) -> str:
    """The line that says what was seen. Raises SystemExit where it never was."""
    entry = None
    for _ in range(TRIES):
        # Somebody new: no earlier run has tired them.
        user_id = f"reader-{uuid4().hex[:12]}"
        if case.again:
            await sender.decided(await sender.send(case, user_id), case.channel)
        notification_id = await sender.send(case, user_id)
        entry = await sender.decided(notification_id, case.channel)
        if entry is not None and (entry.state, entry.reason) == (case.state, case.reason):
            state = DeliveryState.Type.Name(entry.state)
            channel = Channel.Type.Name(entry.channel)
            return f"{case.decision}: {case.kind} {notification_id}: {channel} {state}, {entry.reason}"
    raise SystemExit(f"{case.decision} was not seen in the timeline of a {case.kind}; the last said: {entry}")


async def refused(address: str) -> str:
    """The line that says that a caller without the token is refused. Raises SystemExit where it is not."""
    request = FilterNotificationsRequest(items=[FilterItem(item_id="1")])
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            await FilterServiceStub(channel).FilterNotifications(request, timeout=10)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                return "a caller without the token is refused"
            raise SystemExit(f"{address} said {error.code().name}, not UNAUTHENTICATED") from error
    raise SystemExit(f"{address} answered a caller without the token")


async def main() -> None:
    """Prints what was seen."""
    print(await refused(os.environ["CROWN_FILTER_ADDRESS"]), flush=True)
    async with grpc.aio.insecure_channel(os.environ["CROWN_TARGET"]) as channel:
        sender = Sender(channel, os.environ["CROWN_TOKEN_SERVICE"])
        for case in CASES:
            print(await see(sender, case), flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except grpc.aio.AioRpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
