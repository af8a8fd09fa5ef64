"""The client of the suite, for callers in Python.

    async with Client("localhost:3005", token=token) as client:
        notification_id = await client.send(user_id="user123", type="push", title="Hello", message="There")

Each call has a deadline, and is tried again with the same idempotency key where that cannot send twice. Errors
are those of crown/errors.py: Unavailable means that nothing happened, OutcomeUnknown that nobody can say.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Unpack
from uuid import uuid4

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from crown.client import bulk
from crown.client.bulk import Sent
from crown.client.calls import OPTIONS, USUAL, Calls, Patience, TokenSource
from crown.client.draft import Fields, draft
from crown.errors import CrownError
from crown.notification.v1 import contact_service_pb2 as contacts
from crown.notification.v1 import device_service_pb2 as installations
from crown.notification.v1 import inbox_service_pb2 as inbox
from crown.notification.v1 import ingest_service_pb2 as ingest
from crown.notification.v1 import preference_service_pb2 as choices
from crown.notification.v1 import realtime_service_pb2 as realtime
from crown.notification.v1.contact_service_pb2_grpc import ContactServiceStub
from crown.notification.v1.device_service_pb2_grpc import DeviceServiceStub
from crown.notification.v1.inbox_service_pb2_grpc import InboxServiceStub
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.notification_pb2 import InboxEntry, Notification
from crown.notification.v1.preference_pb2 import ChannelPreferences, NotificationPreferences
from crown.notification.v1.preference_service_pb2_grpc import PreferenceServiceStub
from crown.notification.v1.realtime_service_pb2_grpc import RealtimeServiceStub
from crown.notification.v1.types_pb2 import DeviceKind, Platform

# By category and channel, such as {"marketing": {"email": True}}.
Preferences = dict[str, dict[str, bool]]


@dataclass(frozen=True, slots=True)
class Contact:
    """Where and how to reach a person; what is not known is empty."""

    email: str = ""
    phone: str = ""
    locale: str = ""
    time_zone: str = ""


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
        self._calls = Calls(token_source or (lambda: token), patience, chance)
        self._channel = (
            grpc.aio.insecure_channel(target, options=OPTIONS)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=OPTIONS)
        )
        self._ingest = IngestServiceStub(self._channel)
        self._inbox = InboxServiceStub(self._channel)
        self._choices = PreferenceServiceStub(self._channel)
        self._contacts = ContactServiceStub(self._channel)
        self._devices = DeviceServiceStub(self._channel)
        self._realtime = RealtimeServiceStub(self._channel)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and what is under way on it."""
        await self._channel.close()

    # -- sending

    async def send(self, *, timeout_s: float | None = None, **fields: Unpack[Fields]) -> str:
        """Sends one notification and answers its id: it is on disk then. Give `idempotency_key` where this
        program may itself be asked twice, or may die before it hears the answer; else one is made."""
        request = draft(**fields)
        request.idempotency_key = request.idempotency_key or _key()
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
        key = idempotency_key or _key()
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

    async def get(self, notification_id: str, *, timeout_s: float | None = None) -> Notification:
        """A notification of this service with what became of each delivery. Raises NotFound."""
        request = ingest.GetNotificationRequest(notification_id=notification_id)
        answer = await self._calls.unary(self._ingest.GetNotification, request, timeout_s=timeout_s)
        return answer.notification

    # -- reading

    async def history(self, user_id: str, *, page_size: int = 50) -> AsyncIterator[InboxEntry]:
        """A person's notifications, newest first, fetched as they are asked for. What arrives meanwhile is
        not among them."""
        request = inbox.ListNotificationsRequest(user_id=user_id, limit=page_size)
        while True:
            page = await self._calls.unary(self._inbox.ListNotifications, request)
            for entry in page.notifications:
                yield entry
            if not page.next_cursor:
                return
            request.cursor = page.next_cursor

    async def subscribe(self, user_id: str) -> AsyncIterator[realtime.SubscribeResponse]:
        """What arrives for a person from now on. Raises Unavailable or OutcomeUnknown when it breaks off, as
        every long stream does now and then: subscribe again, then read `history` for what came between."""
        request = realtime.SubscribeRequest(user_id=user_id)
        async for event in self._calls.stream(self._realtime.Subscribe, request):
            yield event

    async def publish(self, user_id: str, event: str, payload: Mapping[str, Any]) -> int:
        """Sends an event to a person's open sockets and answers its offset. Nothing keeps it."""
        request = realtime.PublishRequest(
            user_id=user_id, event=event, payload=ParseDict(dict(payload), Struct())
        )
        answer = await self._calls.unary(self._realtime.Publish, request, repeatable=False)
        return answer.offset

    # -- what a person wants, and where to reach them

    async def preferences(self, user_id: str) -> Preferences:
        """What holds, every category and channel spelled out; `set_preferences` takes it back unchanged."""
        request = choices.GetNotificationPreferencesRequest(user_id=user_id)
        answer = await self._calls.unary(self._choices.GetNotificationPreferences, request)
        return _preferences(answer.categories)

    async def set_preferences(
        self, user_id: str, preferences: Mapping[str, Mapping[str, bool]]
    ) -> Preferences:
        """Replaces what a person chose, by category and channel, and answers what holds. What is left out has
        its default again; quiet hours, digests and caps stay."""
        chosen = NotificationPreferences(
            categories={name: ChannelPreferences(**channels) for name, channels in preferences.items()}
        )
        request = choices.PatchNotificationPreferencesRequest(
            user_id=user_id, preferences=chosen, update_mask=FieldMask(paths=["categories"])
        )
        answer = await self._calls.unary(self._choices.PatchNotificationPreferences, request)
        return _preferences(answer.categories)

    async def contact(self, user_id: str) -> Contact:
        """Where to reach a person; empty where nothing is known."""
        answer = await self._calls.unary(
            self._contacts.GetContact, contacts.GetContactRequest(user_id=user_id)
        )
        return Contact(answer.email, answer.phone, answer.locale, answer.time_zone)

    async def set_contact(self, user_id: str, contact: Contact) -> Contact:
        """Replaces a person's contact, and answers what holds. What is left empty is forgotten."""
        request = contacts.UpdateContactRequest(user_id=user_id, contact=contacts.Contact(**asdict(contact)))
        answer = await self._calls.unary(self._contacts.UpdateContact, request)
        return Contact(answer.email, answer.phone, answer.locale, answer.time_zone)

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


def _key() -> str:
    return uuid4().hex


def _preferences(categories: Mapping[str, ChannelPreferences]) -> Preferences:
    return {
        name: {field.name: value for field, value in channels.ListFields()}
        for name, channels in categories.items()
    }
