"""The side of an SNS topic that the gateway calls: its signing certificate, and yes to a subscription."""

from __future__ import annotations

from aiohttp import web

from stack.replies import json_reply
from stack.sandbox.postman import Postman
from stack.sandbox.sns_callbacks import SnsCallbacks


class Topic:
    """Handlers over one topic."""

    def __init__(self, calls: SnsCallbacks, postman: Postman) -> None:
        self._calls = calls
        self._postman = postman

    async def certificate(self, _request: web.Request) -> web.Response:
        """GET the certificate, in PEM."""
        return web.Response(body=self._calls.certificate, content_type="application/x-pem-file")

    async def ask(self, _request: web.Request) -> web.Response:
        """POST /sns/subscription: asks the gateway whether it wants the topic; its status."""
        status, _ = await self._postman.post(self._calls.question())
        return json_reply({"topic": self._calls.topic, "status": status})

    async def confirm(self, request: web.Request) -> web.Response:
        """GET /sns/?Action=ConfirmSubscription…: the gateway does."""
        if request.query.get("Action") != "ConfirmSubscription":
            return web.Response(status=400, text="Action must be ConfirmSubscription")
        if not self._calls.confirm(request.query.get("Token", "")):
            return web.Response(status=400, text="the token is unknown, or was used")
        arn = f"{self._calls.topic}:00000000-0000-0000-0000-000000000000"
        text = (
            '<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
            f"<ConfirmSubscriptionResult><SubscriptionArn>{arn}</SubscriptionArn></ConfirmSubscriptionResult>"
            "</ConfirmSubscriptionResponse>"
        )
        return web.Response(text=text, content_type="text/xml")
