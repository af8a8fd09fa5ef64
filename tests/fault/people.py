"""Who a fault run notifies: people with an address on every channel, and one without any."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace

import aiohttp
import grpc.aio

from crown.notification.v1 import (
    contact_service_pb2,
    contact_service_pb2_grpc,
    device_service_pb2,
    device_service_pb2_grpc,
)
from crown.notification.v1.types_pb2 import DeviceKind

_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody and where they are reached; empty: nowhere."""

    user: str
    email: str = ""
    phone: str = ""
    # Of an app; or the endpoint of a browser, which has keys.
    token: str = ""
    keys: device_service_pb2.WebPushKeys | None = None

    def addresses(self) -> dict[tuple[str, str], frozenset[str]]:
        """As the evidence holds them."""
        found = {"email": self.email, "sms": self.phone, "push": self.token}
        return {(self.user, channel): frozenset({at}) for channel, at in found.items() if at}


def crowd(count: int) -> list[Person]:
    """`count` people with addresses."""
    return [
        Person(f"fan-{n}", f"fan-{n}@fans.example", f"+1415555{n:04d}", f"token-of-fan-{n}")
        for n in range(count)
    ]


HERMIT = Person("hermit")


async def with_browser(person: Person, http: aiohttp.ClientSession, sandbox: str) -> Person:
    """The same with a browser, subscribed at the sandbox's push service, for an app."""
    async with http.post(f"{sandbox}/web-push/subscriptions") as answer:
        found = await answer.json()
    return replace(person, token=found["endpoint"], keys=device_service_pb2.WebPushKeys(**found["keys"]))


async def register(
    ingest: grpc.aio.Channel, push: grpc.aio.Channel, token: str, people: Sequence[Person]
) -> None:
    """Stores their contacts and devices by the suite's own API: at the services, or at the gateway for both."""
    contacts = contact_service_pb2_grpc.ContactServiceStub(ingest)
    devices = device_service_pb2_grpc.DeviceServiceStub(push)
    metadata = (("authorization", f"Bearer {token}"),)
    async with asyncio.TaskGroup() as group:
        for one in people:
            contact = contact_service_pb2.Contact(email=one.email, phone=one.phone)
            update = contact_service_pb2.UpdateContactRequest(user_id=one.user, contact=contact)
            device = device_service_pb2.RegisterDeviceRequest(user_id=one.user, token=one.token)
            if one.keys is not None:
                device.MergeFrom(
                    device_service_pb2.RegisterDeviceRequest(kind=DeviceKind.WEB_PUSH, web_push=one.keys)
                )
            group.create_task(_done(contacts.UpdateContact(update, metadata=metadata, timeout=_LIMIT_S)))
            group.create_task(_done(devices.RegisterDevice(device, metadata=metadata, timeout=_LIMIT_S)))


async def _done(call: Awaitable[object]) -> None:
    await call
