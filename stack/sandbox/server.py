"""Puts the providers, the counter and the controls behind one HTTP server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import web
from pydantic import SecretStr

from stack.journal import Journal
from stack.sandbox import control
from stack.sandbox.callback import Caller
from stack.sandbox.control import Control
from stack.sandbox.counter import Counter
from stack.sandbox.fcm import Fcm
from stack.sandbox.ledger import Ledger
from stack.sandbox.oauth import Account, OAuth, Tokens
from stack.sandbox.page import Page
from stack.sandbox.phone import Phone
from stack.sandbox.postman import Postman
from stack.sandbox.provider import Provider
from stack.sandbox.script import Scripts
from stack.sandbox.sendgrid import MAX_BODY_BYTES, SendGrid
from stack.sandbox.sendgrid_callbacks import SendGridCallbacks
from stack.sandbox.settings import Settings
from stack.sandbox.sns import Sns
from stack.sandbox.sns_callbacks import CERTIFICATE_PATH, SnsCallbacks
from stack.sandbox.sns_topic import Topic
from stack.sandbox.subscriptions import Subscriptions
from stack.sandbox.twilio import API, Twilio
from stack.sandbox.twilio_callbacks import TwilioCallbacks
from stack.sandbox.web_push import WebPush

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_TOPIC: web.AppKey[SnsCallbacks] = web.AppKey("topic", SnsCallbacks)


def build(settings: Settings) -> web.Application:
    """The application, its ledger read back. Raises ValueError when a key or the service account is none."""
    account = Account.read(settings.service_account) if settings.service_account else None
    tokens = Tokens(account)
    journal = Journal(settings.ledger)
    ledger, scripts = Ledger(journal), Scripts()
    subscriptions = Subscriptions(Journal(_beside(settings.ledger)))
    twilio_key = _plain(settings.twilio_key)
    twilio, sns = Twilio(twilio_key, ledger), Sns(_plain(settings.sns_key))
    twilio_calls = TwilioCallbacks(settings.gateway_url, twilio_key) if twilio_key else None
    topic = _topic(settings)
    callers = _callers(settings, twilio_calls, topic)
    postman = Postman(callers, settings.gateway_url, usual=settings.callbacks == "on")
    line = twilio_calls if settings.gateway_url else None
    phones = {
        "twilio": Phone("twilio", twilio.stopped, line, ledger, postman),
        "sns": Phone("sns", sns.stopped, topic, ledger, postman),
    }

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    serve = _server(Counter(ledger, scripts, postman))
    app.router.add_post("/v3/mail/send", serve(SendGrid(_plain(settings.sendgrid_key))))
    app.router.add_post("/v1/projects/{project}/messages:send", serve(Fcm(account, tokens)))
    app.router.add_post("/token", serve(OAuth(account, tokens)))
    for verb in ("GET", "POST"):
        app.router.add_route(verb, API + "/{account}/Messages.json", serve(twilio))
    app.router.add_get(API + "/{account}/Messages/{message}.json", serve(twilio))
    app.router.add_post("/sns{end:/?}", serve(sns))
    if topic is not None:
        app[_TOPIC] = topic
        _add_topic(app, Topic(topic, postman))
    controls = Control(ledger, scripts, postman, phones, subscriptions)
    _add_controls(app, controls)
    app.router.add_post("/web-push/{subscription}", serve(WebPush(subscriptions)))
    _add_page(app, Page(ledger, scripts, postman, phones))
    app.router.add_route("*", "/{path:.*}", control.not_found)
    app.cleanup_ctx.append(_delivering(postman))

    async def close(_app: web.Application) -> None:
        journal.close()
        subscriptions.close()

    app.on_cleanup.append(close)
    return app


def _add_controls(app: web.Application, controls: Control) -> None:
    app.router.add_get("/ledger", controls.ledger)
    app.router.add_get("/script", controls.pending)
    app.router.add_post("/script", controls.script)
    app.router.add_get("/callbacks", controls.callbacks)
    app.router.add_post("/callbacks", controls.tell)
    app.router.add_post("/reset", controls.reset)
    app.router.add_post("/twilio/inbound", controls.inbound)
    app.router.add_post("/sns/inbound", controls.inbound)
    app.router.add_post("/web-push/subscriptions", controls.subscribe)
    app.router.add_delete("/web-push/{subscription}", controls.unsubscribe)
    app.router.add_get("/healthz", control.health)


def _add_topic(app: web.Application, topic: Topic) -> None:
    for path in (CERTIFICATE_PATH, "/sns/cert.pem"):
        app.router.add_get(path, topic.certificate)
    app.router.add_get("/sns{end:/?}", topic.confirm)
    app.router.add_post("/sns/subscription", topic.ask)


def _add_page(app: web.Application, page: Page) -> None:
    app.router.add_get("/", page.root)
    app.router.add_get("/page/{file}", page.file)
    app.router.add_get("/overview", page.overview)


def _callers(
    settings: Settings, twilio: TwilioCallbacks | None, topic: SnsCallbacks | None
) -> dict[str, Caller]:
    """Who calls back: those whose keys and addresses are known."""
    callers: dict[str, Caller] = {}
    if twilio is not None:
        callers["twilio"] = twilio
    if topic is not None:
        callers["sns"] = topic
    if settings.gateway_url and settings.sendgrid_webhook_key is not None:
        key = settings.sendgrid_webhook_key.read_bytes()
        callers["sendgrid"] = SendGridCallbacks(settings.gateway_url, key, time.time)
    return callers


def _topic(settings: Settings) -> SnsCallbacks | None:
    if not settings.gateway_url or settings.sns_signer is None:
        return None
    return SnsCallbacks(settings.gateway_url, settings.sns_topic, settings.sns_signer.read_bytes(), time.time)


def _delivering(postman: Postman) -> Callable[[web.Application], AsyncIterator[None]]:
    async def run(_app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(postman.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return run


def _beside(ledger: Path | None) -> Path | None:
    """Where subscriptions are kept: where the ledger is."""
    return ledger.with_name("subscriptions.jsonl") if ledger else None


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _server(counter: Counter) -> Callable[[Provider], Handler]:
    def for_provider(provider: Provider) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await counter.serve(provider, request)

        return handle

    return for_provider


async def start(app: web.Application, bind: str, port: int) -> tuple[web.AppRunner, int]:
    """Listens; gives the runner to clean up, and the port, chosen by the system where `port` is 0.

    A caller that hangs up ends its handler, so that scripted hangs do not pile up; entries are recorded
    before a handler first waits, hence never lost by that.
    """
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, bind, port).start()
    actual = runner.addresses[0][1]
    if (topic := app.get(_TOPIC)) is not None:
        topic.origin = f"http://{bind}:{actual}"
    return runner, actual
