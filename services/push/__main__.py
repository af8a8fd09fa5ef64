"""`python -m services.push`: wires the push service."""

from __future__ import annotations

import asyncio

from crown import channel, rpc
from crown.http import Http
from crown.notification.v1 import device_service_pb2, push_service_pb2
from crown.notification.v1.types_pb2 import Channel
from crown.revocations import Revocations
from crown.unread import Unread
from services.push.devices import DeviceService
from services.push.fcm.access_token import AccessToken
from services.push.fcm.provider import Fcm
from services.push.push import Badge, Forget, Push
from services.push.service import PushService
from services.push.settings import PushSettings
from services.push.web_push.provider import WebPush

# A person has several devices, so there are more calls at once than deliveries.
_CONNECTIONS_EACH = 2
_CALL_TIMEOUT_S = 7.0


def providers(settings: PushSettings, badge: Badge, forget: Forget) -> list[Push]:
    """One for each service account: `fcm`, `fcm-2` and so on. Browsers are reached by each of them."""
    web_push = _web_push(settings)
    found = []
    for number, account in enumerate(settings.service_accounts, start=1):
        http = Http(_CONNECTIONS_EACH * settings.in_flight, _CALL_TIMEOUT_S)
        fcm = Fcm(http, settings.fcm_url, account["project_id"], AccessToken(account))
        name = "fcm" if number == 1 else f"fcm-{number}"
        found.append(Push(name, fcm, web_push, settings.links, badge, forget))
    return found


def _web_push(settings: PushSettings) -> WebPush | None:
    if settings.egress is None:
        return None
    http = Http(_CONNECTIONS_EACH * settings.in_flight, _CALL_TIMEOUT_S, settings.egress)
    return WebPush(http, settings.egress, settings.vapid)


async def main(settings: PushSettings, stopping: asyncio.Event) -> None:
    """Serves and delivers until `stopping` is set."""
    async with channel.connected(settings, "push") as to:
        made = providers(settings, Unread(to.store.db).count, to.recipients.forget_devices)
        route = channel.route(settings, to, Channel.PUSH, made)
        engine = channel.engine(settings, to, Channel.PUSH, route)
        direct = channel.direct(to, Channel.PUSH, route)
        push = PushService(direct, settings.links, settings.egress)
        devices = DeviceService(to.recipients, settings.egress)
        server = rpc.Server(settings, Revocations(to.bus))
        server.add(push_service_pb2.DESCRIPTOR.services_by_name["PushService"], push, push.checks())
        server.add(device_service_pb2.DESCRIPTOR.services_by_name["DeviceService"], devices, devices.checks())
        await channel.run(settings, to, server, engine, direct, route, stopping)


if __name__ == "__main__":
    rpc.run("push", PushSettings, main)
