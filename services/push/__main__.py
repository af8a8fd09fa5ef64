"""`python -m services.push`: wires the push service."""

from __future__ import annotations

import asyncio

from crown import channel, rpc
from crown.direct import DirectSend
from crown.http import Http
from crown.notification.v1 import device_service_pb2, push_service_pb2
from crown.notification.v1.types_pb2 import Channel
from crown.route import Route
from services.push.access_token import AccessToken
from services.push.devices import DeviceService
from services.push.fcm import Fcm, Forget
from services.push.service import PushService
from services.push.settings import PushSettings

# A person has several devices, so there are more calls at once than deliveries.
_CONNECTIONS_EACH = 2
_CALL_TIMEOUT_S = 7.0


def provider(settings: PushSettings, forget: Forget) -> Fcm:
    """FCM for the project of the service account."""
    account = settings.service_account
    http = Http(_CONNECTIONS_EACH * settings.in_flight, _CALL_TIMEOUT_S)
    token = AccessToken(account)
    return Fcm(http, settings.fcm_url, account["project_id"], token, settings.links, forget)


async def main(settings: PushSettings, stopping: asyncio.Event) -> None:
    """Serves and delivers until `stopping` is set."""
    async with channel.connected(settings, "push") as to:
        providers = [provider(settings, to.recipients.forget_devices)]
        route = Route(providers)
        engine = channel.engine(settings, to, Channel.PUSH, route)
        direct = DirectSend(to.store.db, Channel.PUSH, providers[0])
        service = PushService(direct, settings.links)
        server = rpc.Server(settings)
        server.add(push_service_pb2.DESCRIPTOR.services_by_name["PushService"], service, service.checks())
        server.add(
            device_service_pb2.DESCRIPTOR.services_by_name["DeviceService"], DeviceService(to.recipients)
        )
        await channel.run(settings, to, server, engine, direct, route, stopping)


if __name__ == "__main__":
    rpc.run("push", PushSettings, main)
