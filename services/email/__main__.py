"""`python -m services.email`: wires the e-mail service."""

from __future__ import annotations

import asyncio
from functools import partial

from crown import channel, rpc
from crown.http import Http
from crown.notification.v1 import email_callback_service_pb2, email_service_pb2, template_service_pb2
from crown.notification.v1.types_pb2 import Channel, SuppressionReason
from crown.preferences import Preferences
from crown.provider import Provider
from crown.revocations import Revocations
from crown.suppressions import Suppressions
from services.email.callbacks import EmailCallbackService
from services.email.message import Composer
from services.email.sendgrid.provider import SendGrid
from services.email.service import EmailService
from services.email.settings import EmailSettings
from services.email.smtp.pool import SmtpPool
from services.email.smtp.provider import Gone, Smtp
from services.email.templates.library import Library
from services.email.templates.renderers import Renderers
from services.email.templates.service import TemplateService
from services.email.templates.stored import StoredTemplates


def provider(
    name: str, settings: EmailSettings, composer: Composer, suppress: Gone | None = None
) -> Provider:
    """The provider of this name. `suppress` is told of addresses that do not exist."""
    if name == "smtp":
        pool = SmtpPool(settings.smtp_server, composer.letterhead.domain)
        return Smtp(pool, composer, settings.provider_timeout_s, suppress)
    key = settings.sendgrid_api_key.get_secret_value()
    return SendGrid(
        Http(settings.in_flight, settings.provider_timeout_s),
        settings.sendgrid_url,
        key,
        composer,
        tracking=settings.sendgrid_tracking,
    )


async def main(settings: EmailSettings, stopping: asyncio.Event) -> None:
    """Serves and delivers until `stopping` is set."""
    async with channel.connected(settings, "email") as to:
        suppressions = Suppressions(to.store.db, to.data_key)
        suppress = partial(suppressions.add, Channel.EMAIL, reason=SuppressionReason.BOUNCE, source="smtp")
        stored, renderers = StoredTemplates(to.store.db), Renderers()
        library = Library(stored, renderers)
        composer = Composer(settings.letterhead, library)
        providers = [provider(name, settings, composer, suppress) for name in settings.shares]
        route = channel.route(settings, to, Channel.EMAIL, providers, settings.shares)
        engine = channel.engine(settings, to, Channel.EMAIL, route)
        direct = channel.direct(to, Channel.EMAIL, route)
        service = EmailService(direct, settings.links)
        server = rpc.Server(settings, Revocations(to.bus))
        server.add(email_service_pb2.DESCRIPTOR.services_by_name["EmailService"], service, service.checks())
        callbacks = EmailCallbackService(
            to.bus,
            suppressions,
            Preferences(to.store.db),
            settings.sendgrid_signature,
            settings.unsubscribe_links,
            settings.letterhead.name,
        )
        server.add(email_callback_service_pb2.DESCRIPTOR.services_by_name["EmailCallbackService"], callbacks)
        templates = TemplateService(stored, library, renderers, composer)
        named = template_service_pb2.DESCRIPTOR.services_by_name["TemplateService"]
        server.add(named, templates, templates.checks())
        try:
            await channel.run(settings, to, server, engine, direct, route, stopping)
        finally:
            await renderers.close()


if __name__ == "__main__":
    rpc.run("email", EmailSettings, main)
