"""`python -m services.sms`: wires the SMS service."""

from __future__ import annotations

import asyncio

from crown import channel, rpc
from crown.direct import DirectSend
from crown.http import Http
from crown.notification.v1 import sms_service_pb2
from crown.notification.v1.types_pb2 import Channel
from crown.route import Route
from services.sms.service import SmsService
from services.sms.settings import SmsSettings
from services.sms.twilio import Twilio


def provider(settings: SmsSettings) -> Twilio:
    """Twilio for the account of the settings."""
    http = Http(settings.in_flight)
    links, status_url = settings.links, settings.status_url
    return Twilio(http, settings.twilio_url, settings.account, settings.sender, links, status_url)


async def main(settings: SmsSettings, stopping: asyncio.Event) -> None:
    """Serves and delivers until `stopping` is set."""
    async with channel.connected(settings, "sms") as to:
        providers = [provider(settings)]
        route = Route(providers)
        engine = channel.engine(settings, to, Channel.SMS, route)
        direct = DirectSend(to.store.db, Channel.SMS, providers[0])
        service = SmsService(direct, settings.links)
        server = rpc.Server(settings)
        server.add(sms_service_pb2.DESCRIPTOR.services_by_name["SmsService"], service, service.checks())
        await channel.run(settings, to, server, engine, direct, route, stopping)


if __name__ == "__main__":
    rpc.run("sms", SmsSettings, main)
