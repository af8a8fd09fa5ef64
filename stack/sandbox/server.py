"""Puts the providers, the counter and the controls behind one HTTP server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from stack.journal import Journal
from stack.sandbox import control
from stack.sandbox.control import Control
from stack.sandbox.counter import Counter
from stack.sandbox.fcm import Fcm
from stack.sandbox.ledger import Ledger
from stack.sandbox.oauth import Account, OAuth, Tokens
from stack.sandbox.provider import Provider
from stack.sandbox.script import Scripts
from stack.sandbox.sendgrid import MAX_BODY_BYTES, SendGrid
from stack.sandbox.settings import Settings
from stack.sandbox.twilio import API, Twilio

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build(settings: Settings) -> web.Application:
    """The application, its ledger read back. Raises ValueError when the service account is none."""
    account = Account.read(settings.service_account) if settings.service_account else None
    tokens = Tokens(account)
    journal = Journal(settings.ledger)
    ledger, scripts = Ledger(journal), Scripts()
    sendgrid_key, twilio_key = settings.sendgrid_key, settings.twilio_key
    sendgrid = SendGrid(sendgrid_key.get_secret_value() if sendgrid_key else None)
    twilio = Twilio(twilio_key.get_secret_value() if twilio_key else None, ledger)

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    serve = _server(Counter(ledger, scripts))
    app.router.add_post("/v3/mail/send", serve(sendgrid))
    app.router.add_post("/v1/projects/{project}/messages:send", serve(Fcm(account, tokens)))
    app.router.add_post("/token", serve(OAuth(account, tokens)))
    for verb in ("GET", "POST"):
        app.router.add_route(verb, API + "/{account}/Messages.json", serve(twilio))
    app.router.add_get(API + "/{account}/Messages/{message}.json", serve(twilio))
    _add_controls(app, Control(ledger, scripts, twilio))

    async def close(_app: web.Application) -> None:
        journal.close()

    app.on_cleanup.append(close)
    return app


def _add_controls(app: web.Application, controls: Control) -> None:
    app.router.add_get("/ledger", controls.ledger)
    app.router.add_get("/script", controls.pending)
    app.router.add_post("/script", controls.script)
    app.router.add_post("/reset", controls.reset)
    app.router.add_post("/twilio/inbound", controls.inbound)
    app.router.add_get("/healthz", control.health)
    app.router.add_route("*", "/{path:.*}", control.not_found)


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
    return runner, runner.addresses[0][1]
