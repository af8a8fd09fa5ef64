"""`python -m services.sms`: wires the SMS service."""

from __future__ import annotations

import asyncio
import random

from redis.asyncio import Redis

from crown import channel, presence, rpc
from crown.channel import Connections
from crown.delivery import Engine
from crown.desk import PersonDesk
from crown.http import Http
from crown.notification.v1 import sms_callback_service_pb2, sms_service_pb2
from crown.notification.v1.types_pb2 import Channel
from crown.provider import Provider
from crown.revocations import Revocations
from crown.route import Route
from crown.suppressions import Suppressions
from services.sms.callbacks import SmsCallbackService
from services.sms.caps import Caps
from services.sms.desk import SmsDesk
from services.sms.gate import Gate
from services.sms.inbound import Inbound
from services.sms.service import SmsService
from services.sms.settings import SmsSettings
from services.sms.sns.certificates import Certificates
from services.sms.sns.signature import SnsSignature
from services.sms.twilio.provider import Twilio
from services.sms.twilio.signature import TwilioSignature


def provider(name: str, settings: SmsSettings) -> Provider:
    """The provider of this name."""
    http = Http(settings.in_flight, settings.provider_timeout_s)
    numbers, texts = settings.numbers, settings.texts
    if name == "twilio":
        return Twilio(http, settings.twilio_url, settings.account, numbers, texts, settings.status_address)
    # Late: the SDK takes most of a second to load.
    from services.sms.sns.provider import Sns

    endpoint, region, most = settings.sns_endpoint, settings.sns_region, settings.sns_price_most
    return Sns(http, endpoint, settings.sns_account, region, numbers, texts, most)


def engine(settings: SmsSettings, to: Connections, route: Route, gate: Gate) -> Engine:
    """The engine, with the gate before each attempt."""
    person = PersonDesk(Channel.SMS, to.store.db, to.data_key)
    desk = SmsDesk(person, gate, settings.rules, random.Random())
    return channel.engine(settings, to, Channel.SMS, route, desk)


def callbacks(
    settings: SmsSettings,
    to: Connections,
    suppressions: Suppressions,
    certificates: Certificates,
    redis: Redis,
) -> SmsCallbackService:
    """The servicer for what providers tell later."""
    return SmsCallbackService(
        to.bus,
        suppressions,
        Inbound(suppressions, redis),
        TwilioSignature(settings.twilio_tokens),
        SnsSignature(certificates, settings.topics),
        certificates,
        settings.status_address,
        settings.gateway_url,
        settings.help,
    )


async def main(settings: SmsSettings, stopping: asyncio.Event) -> None:
    """Serves and delivers until `stopping` is set."""
    redis = presence.connect(settings.redis_host.get_secret_value())
    async with channel.connected(settings, "sms") as to:
        gate = Gate(settings.texts, settings.numbers, Caps(redis, settings.limits, to.data_key))
        providers = [provider(name, settings) for name in settings.shares]
        route = channel.route(settings, to, Channel.SMS, providers, settings.shares)
        direct = channel.direct(to, Channel.SMS, route)
        suppressions = Suppressions(to.store.db, to.data_key)
        service = SmsService(direct, gate)
        server = rpc.Server(settings, Revocations(to.bus))
        server.add(sms_service_pb2.DESCRIPTOR.services_by_name["SmsService"], service, service.checks())
        certificates = Certificates(settings.cert_hosts, settings.issuers)
        told = callbacks(settings, to, suppressions, certificates, redis)
        server.add(sms_callback_service_pb2.DESCRIPTOR.services_by_name["SmsCallbackService"], told)
        await channel.run(settings, to, server, engine(settings, to, route, gate), direct, route, stopping)
        await certificates.close()
    await redis.aclose()


if __name__ == "__main__":
    rpc.run("sms", SmsSettings, main)
