"""People with an address on every channel, whom the rows about channels send to."""

from __future__ import annotations

import asyncio

import grpc

from bench.site import Site
from crown.notification.v1 import contact_service_pb2 as contacts
from crown.notification.v1 import device_service_pb2 as devices
from crown.notification.v1.contact_service_pb2_grpc import ContactServiceStub
from crown.notification.v1.device_service_pb2_grpc import DeviceServiceStub

_LIMIT_S = 30.0


def person(number: int) -> str:
    """Their id."""
    return f"crowd{number:04d}"


def metadata(site: Site) -> tuple[tuple[str, str], ...]:
    """Of a service that may do everything."""
    return (("authorization", f"Bearer {site.stack.token(service='bench')}"),)


async def register(site: Site, count: int) -> None:
    """Stores contact and device of each."""
    async with (
        grpc.aio.insecure_channel(site.stack.address("ingest-api")) as ingest,
        grpc.aio.insecure_channel(site.stack.address("push")) as push,
        asyncio.TaskGroup() as group,
    ):
        for number in range(count):
            group.create_task(_register(ingest, push, metadata(site), number))


async def _register(
    ingest: grpc.aio.Channel, push: grpc.aio.Channel, told: tuple[tuple[str, str], ...], number: int
) -> None:
    user = person(number)
    contact = contacts.Contact(email=f"{user}@crowd.example", phone=f"+1415555{number:04d}")
    request = contacts.UpdateContactRequest(user_id=user, contact=contact)
    device = devices.RegisterDeviceRequest(user_id=user, token=f"device-of-{user}")
    await ContactServiceStub(ingest).UpdateContact(request, metadata=told, timeout=_LIMIT_S)
    await DeviceServiceStub(push).RegisterDevice(device, metadata=told, timeout=_LIMIT_S)
