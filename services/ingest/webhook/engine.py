"""The engine of every channel, put together for calls of senders. Its rows are those of `webhooks`; its one
provider stands for the receivers of all senders, so that it is never taken for out because one of them is."""

from __future__ import annotations

import sys
from datetime import timedelta

from crown.bus import Bus
from crown.circuit import Limits
from crown.delivery import Engine
from crown.http import Http
from crown.judgement import Rules
from crown.ledger import Ledger
from crown.notification.v1.types_pb2 import Channel
from crown.route import Route
from crown.store import Store
from crown.subjects import NAMES
from crown.webhook_secrets import WebhookSecrets
from services.ingest.webhook import rows as webhooks
from services.ingest.webhook.desk import WebhookDesk
from services.ingest.webhook.hosts import WebhookHosts
from services.ingest.webhook.provider import Webhook

# Later the sender has asked by itself, or never will.
_WORTH_TELLING = timedelta(days=1)
# A receiver that takes longer is told again, and knows it by the id.
_TIMEOUT_S = 8.0
_NEVER_OUT = Limits(calls_least=sys.maxsize)


def route(hosts: WebhookHosts, secrets: WebhookSecrets) -> Route:
    """Leads to whoever `hosts` allows. Make it inside the running loop."""
    provider = Webhook(Http(timeout_s=_TIMEOUT_S, egress=hosts.egress), secrets)
    return Route([provider], channel=NAMES[Channel.WEBHOOK], limits=_NEVER_OUT)


def engine(bus: Bus, store: Store, hosts: WebhookHosts, to: Route) -> Engine:
    """The engine that tells senders."""
    desk, ledger = WebhookDesk(store.db, hosts), Ledger(store.db, webhooks.COLLECTION)
    return Engine(Channel.WEBHOOK, to, desk, bus, store, ledger, rules=Rules(most_age=_WORTH_TELLING))
