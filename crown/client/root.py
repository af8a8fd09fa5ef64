"""The client itself: the everyday calls, and the parts that hold the others."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Unpack

import grpc

from crown.client import bulk, chosen, keys
from crown.client.bulk import Sent
from crown.client.calls import OPTIONS, USUAL, Calls, Patience, TokenSource
from crown.client.choices import Choices
from crown.client.chosen import Preferences
from crown.client.contact import Contact
from crown.client.dead_letters import DeadLetters
from crown.client.direct import Direct
from crown.client.draft import Fields, draft
from crown.client.groups import Groups
from crown.client.inbox import Inbox
from crown.client.live import Live
from crown.client.operations import Operations
from crown.client.people import People
from crown.client.schedules import Schedules
from crown.client.streaming import Drafts, streamed
from crown.client.suppressions import Suppressions
from crown.client.templates import Templates
from crown.client.unanswered import WINDOW
from crown.errors import CrownError
from crown.notification.v1 import contact_service_pb2 as contacts
from crown.notification.v1 import device_service_pb2 as installations
from crown.notification.v1 import ingest_service_pb2 as ingest
from crown.notification.v1 import realtime_service_pb2 as realtime
from crown.notification.v1.contact_service_pb2_grpc import ContactServiceStub
from crown.notification.v1.device_service_pb2_grpc import DeviceServiceStub
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.notification_pb2 import InboxEntry, Notification
from crown.notification.v1.timeline_pb2 import TimelineEntry
from crown.notification.v1.types_pb2 import DeviceKind, Platform


class Client:
    """One connection to the suite at `target` (host:port, or dns:///host:port for all behind a name). It takes
    a `token`, or a `token_source` that is asked before every attempt; without `credentials` it speaks in the
    clear."""

    def __init__(
        self,
        target: str,
        *,
        token: str = "",
        token_source: TokenSource | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        patience: Patience = USUAL,
        chance: random.Random | None = None,
    ) -> None:
        if token and token_source:
            raise ValueError("give token or token_source, not both")
        channel = (
            grpc.aio.insecure_channel(target, options=OPTIONS)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=OPTIONS)
        )
        self._use(channel, Calls(token_source or (lambda: token), patience, chance))

    def _use(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._channel = channel
        self._calls = calls
        self._ingest = IngestServiceStub(channel)
        self._contacts = ContactServiceStub(channel)
        self._devices = DeviceServiceStub(channel)
        self.inbox = Inbox(channel, calls)
        self.choices = Choices(channel, calls)
        self.groups = Groups(channel, calls)
        self.live = Live(channel, calls)
        self.direct = Direct(channel, calls)
        self.schedules = Schedules(channel, calls)
        self.templates = Templates(channel, calls)
        self.suppressions = Suppressions(channel, calls)
        self.people = People(channel, calls)
        self.dead_letters = DeadLetters(channel, calls)
        self.operations = Operations(channel, calls)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and what is under way on it."""
        await self._channel.close()

    def within(self, seconds: float) -> Client:
        """The same client on the same connection, each of whose calls may take this long in all."""
        found = Client.__new__(Client)
        found._use(self._channel, self._calls.within(seconds))
        return found

    # -- sending

    async def send(self, *, timeout_s: float | None = None, **fields: Unpack[Fields]) -> str:
        """Sends one notification and answers its id: it is on disk then. Give `idempotency_key` where this
        program may itself be asked twice, or may die before it hears the answer; else one is made."""
        request = draft(**fields)
        request.idempotency_key = keys.given_or_new(request.idempotency_key)
        answer = await self._calls.unary(self._ingest.SendNotification, request, timeout_s=timeout_s)
        return answer.notification_id

    async def send_many(
        self,
        drafts: Iterable[ingest.SendNotificationRequest],
        *,
        idempotency_key: str = "",
        timeout_s: float | None = None,
    ) -> list[Sent]:
        """Sends notifications made by `draft`, and answers what became of each, in order; of none, an empty
        list. `idempotency_key` stands for all of them together. Each thousand has `timeout_s` of its own."""
        key = keys.given_or_new(idempotency_key)
        sent: list[Sent] = []
        for part in bulk.parts(drafts):
            sent.extend(await self._send_part(part, f"{key}.{len(sent)}", timeout_s))
        return sent

    async def _send_part(
        self, part: list[ingest.SendNotificationRequest], key: str, timeout_s: float | None
    ) -> list[Sent]:
        request = ingest.SendBulkNotificationsRequest(notifications=part)
        headers = (("idempotency-key", key),)
        try:
            answer = await self._calls.unary(
                self._ingest.SendBulkNotifications, request, timeout_s=timeout_s, metadata=headers
            )
        except CrownError as error:
            return [Sent("", error)] * len(part)
        return [bulk.sent(result) for result in answer.results]

    def send_stream(self, drafts: Drafts, *, window: int = WINDOW) -> AsyncGenerator[Sent, None]:
        """Sends notifications made by `draft` over one stream for as long as there are some, and yields what became
        of each, in order, as soon as it is on disk. Drafts are asked for only while fewer than `window` have no
        result, so that neither side runs ahead of the other. A stream that breaks off is followed by another, onto
        which goes what has no result: nothing is lost and nothing sent twice. What asking for drafts raises is
        raised after all results."""
        return streamed(self._ingest.StreamNotifications, self._calls, drafts, window)

    async def get(self, notification_id: str, *, timeout_s: float | None = None) -> Notification:
        """A notification of this service with what became of each delivery. Raises NotFound."""
        request = ingest.GetNotificationRequest(notification_id=notification_id)
        answer = await self._calls.unary(self._ingest.GetNotification, request, timeout_s=timeout_s)
        return answer.notification

    async def explain(self, notification_id: str, *, user_id: str = "") -> AsyncIterator[TimelineEntry]:
        """The story of a notification, or of what concerns one person of it, the oldest first. Raises NotFound."""
        request = ingest.ExplainNotificationRequest(
            notification_id=notification_id, user_id=user_id, limit=500
        )
        while True:
            page = await self._calls.unary(self._ingest.ExplainNotification, request)
            for entry in page.entries:
                yield entry
            if not page.next_cursor:
                return
            request.cursor = page.next_cursor

    async def cancel(self, notification_id: str) -> ingest.CancelNotificationResponse:
        """Stops what was not sent yet, and says for how many deliveries that was so. Raises NotFound. Twice is
        once, so it is made again where an answer got lost; then those that it stopped count as late."""
        request = ingest.CancelNotificationRequest(notification_id=notification_id)
        return await self._calls.unary(self._ingest.CancelNotification, request)

    # -- reading

    def history(self, user_id: str, *, page_size: int = 50) -> AsyncIterator[InboxEntry]:
        """A person's notifications, newest first, fetched as they are asked for. What arrives meanwhile is
        not among them."""
        return self.inbox.entries(user_id, page_size=page_size)

    def subscribe(self, user_id: str) -> AsyncGenerator[realtime.SubscribeResponse, None]:
        """What arrives for a person from now on. Raises Unavailable or OutcomeUnknown when it breaks off, as
        every long stream does now and then: subscribe again, then read `history` for what came between."""
        return self.live.subscribe(user_id)

    async def publish(self, user_id: str, event: str, payload: Mapping[str, Any]) -> int:
        """Sends an event to a person's open sockets and answers its offset. Nothing keeps it."""
        return await self.live.publish(f"user:{user_id}", event, payload)

    # -- what a person wants, and where to reach them

    async def preferences(self, user_id: str) -> Preferences:
        """What holds, every category and channel spelled out; `set_preferences` takes it back unchanged."""
        return chosen.by_category((await self.choices.get(user_id)).categories)

    async def set_preferences(
        self, user_id: str, preferences: Mapping[str, Mapping[str, bool]]
    ) -> Preferences:
        """Replaces what a person chose, by category and channel, and answers what holds. What is left out has
        its default again; quiet hours, digests and caps stay."""
        categories = chosen.from_category(preferences)
        return chosen.by_category((await self.choices.change(user_id, categories=categories)).categories)

    async def contact(self, user_id: str) -> Contact:
        """Where to reach a person; empty where nothing is known."""
        request = contacts.GetContactRequest(user_id=user_id)
        answer = await self._calls.unary(self._contacts.GetContact, request)
        return Contact.of(answer)

    async def set_contact(self, user_id: str, contact: Contact) -> Contact:
        """Replaces a person's contact, and answers what holds. What is left empty is forgotten."""
        request = contacts.UpdateContactRequest(user_id=user_id, contact=contact.message())
        answer = await self._calls.unary(self._contacts.UpdateContact, request)
        return Contact.of(answer)

    async def devices(self, user_id: str) -> Sequence[installations.Device]:
        """A person's devices, the last seen first."""
        request = installations.ListDevicesRequest(user_id=user_id)
        return (await self._calls.unary(self._devices.ListDevices, request)).devices

    async def register_device(
        self,
        user_id: str,
        token: str,
        *,
        kind: DeviceKind.Type.ValueType = DeviceKind.TOKEN,
        platform: Platform.Type.ValueType = Platform.PLATFORM_UNSPECIFIED,
    ) -> installations.Device:
        """Registers a device, or renews it."""
        request = installations.RegisterDeviceRequest(
            user_id=user_id, token=token, kind=kind, platform=platform
        )
        return (await self._calls.unary(self._devices.RegisterDevice, request)).device

    async def delete_device(self, user_id: str, device_id: str) -> None:
        """Removes a device; one that is not there is removed already."""
        request = installations.DeleteDeviceRequest(user_id=user_id, device_id=device_id)
        await self._calls.unary(self._devices.DeleteDevice, request)
