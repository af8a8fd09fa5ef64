"""EmailCallbackService: what SendGrid tells later, and people who have enough. Nobody who calls here has a token;
what they bring is signed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from google.api.httpbody_pb2 import HttpBody
from pymongo.errors import PyMongoError

from crown import metrics, subjects, tracing
from crown.bus import Bus, Outgoing
from crown.clock import now
from crown.door import Context
from crown.errors import CrownError, NotFound, StoreUnavailable
from crown.notification.v1 import email_callback_service_pb2 as pb
from crown.notification.v1.types_pb2 import CallbackType, Channel
from crown.preferences import Preferences
from crown.suppressions import Suppressions
from services.email import unsubscribe_page
from services.email.sendgrid import events as sendgrid_events
from services.email.sendgrid.events import Told
from services.email.sendgrid.signature import SIGNATURE, TIMESTAMP, SendGridSignature
from services.email.unsubscribe_link import UnsubscribeLinks

# Nothing tells what is wrong with it.
_NO_LINK = "this link is not one of ours, was altered, or is too old"
_SUBJECT = subjects.callback(subjects.CHANNELS[Channel.EMAIL])


class EmailCallbackService:
    """The servicer. `sender` is the name that people see on the pages."""

    def __init__(
        self,
        bus: Bus,
        suppressions: Suppressions,
        preferences: Preferences,
        signature: SendGridSignature,
        links: UnsubscribeLinks,
        sender: str,
    ) -> None:
        self._bus = bus
        self._suppressions = suppressions
        self._preferences = preferences
        self._signature = signature
        self._links = links
        self._sender = sender

    async def ReceiveSendGridEvents(
        self, request: pb.ReceiveSendGridEventsRequest, context: Context
    ) -> HttpBody:
        """Takes a list of events. Suppressions first, so that no event is known whose address is still sent to."""
        self._signature.check(_header(context, SIGNATURE), _header(context, TIMESTAMP), request.body.data)
        told = sendgrid_events.read(request.body.data, now())
        await self._suppress(told)
        await self._bus.publish_many(_outgoing(told))
        for one in told:
            kind = CallbackType.Type.Name(one.callback.type)
            metrics.CALLBACKS.labels(sendgrid_events.NAME, kind).inc()
        return HttpBody(content_type="text/plain")

    async def ShowUnsubscribe(self, request: pb.ShowUnsubscribeRequest, context: Context) -> HttpBody:
        """The page that asks. It changes nothing: scanners of mail follow every link."""
        found = self._links.read(request.token)
        if found is None:
            return await self._refuse(context, NotFound(_NO_LINK))
        return await _answer(context, unsubscribe_page.ask(self._sender, found[1], _language(context)))

    async def Unsubscribe(self, request: pb.UnsubscribeRequest, context: Context) -> HttpBody:
        """Turns the category off for the person, whoever asks: the link is all it takes."""
        found = self._links.read(request.token)
        if found is None:
            return await self._refuse(context, NotFound(_NO_LINK))
        user_id, category = found
        try:
            await self._preferences.choose(user_id, category, Channel.EMAIL, on=False)
        except PyMongoError:
            return await self._refuse(context, StoreUnavailable("the store does not answer; retry"))
        return await _answer(context, unsubscribe_page.done(self._sender, category, _language(context)))

    async def _refuse(self, context: Context, error: CrownError) -> HttpBody:
        """A page for who looks through a browser; for programs the error in its one shape, which this raises."""
        if "text/html" not in _header(context, "accept"):
            raise error
        missing = isinstance(error, NotFound)
        page = unsubscribe_page.missing if missing else unsubscribe_page.away
        return await _answer(context, page(self._sender, _language(context)), 404 if missing else 503)

    async def _suppress(self, told: Iterable[Told]) -> None:
        # The first reason counts, as where they come one by one.
        wanted = {one.address: one.suppress for one in reversed(list(told)) if one.suppress}
        await asyncio.gather(
            *(
                self._suppressions.add(Channel.EMAIL, address, reason, sendgrid_events.NAME)
                for address, reason in wanted.items()
            )
        )


def _outgoing(told: Iterable[Told]) -> Iterable[Outgoing]:
    headers = tracing.header(tracing.current())
    return (Outgoing(_SUBJECT, one.callback.SerializeToString(), headers) for one in told)


def _header(context: Context, name: str) -> str:
    """A header of the call; empty where it is not there, or no text."""
    found = dict(context.invocation_metadata() or ()).get(name, "")
    return found if isinstance(found, str) else ""


def _language(context: Context) -> str:
    return unsubscribe_page.language(_header(context, "accept-language"))


async def _answer(context: Context, page: str, status: int = 200) -> HttpBody:
    headers = {
        **unsubscribe_page.HEADERS,
        "content-language": _language(context),
        # gRPC has no place for it; the gateway makes it the status of the answer.
        **({"x-crown-status": str(status)} if status != 200 else {}),
    }
    await context.send_initial_metadata(tuple(headers.items()))
    return HttpBody(content_type="text/html; charset=utf-8", data=page.encode())
