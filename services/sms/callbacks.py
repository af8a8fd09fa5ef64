"""SmsCallbackService: what providers tell later, and what people text back. Nobody who calls here has a token; what
they bring is signed."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from google.api.httpbody_pb2 import HttpBody

from crown import logs, metrics, subjects
from crown.bus import Bus, Outgoing
from crown.clock import now
from crown.door import Context
from crown.notification.v1 import sms_callback_service_pb2 as pb
from crown.notification.v1.types_pb2 import CallbackType, Channel, SuppressionReason
from crown.suppressions import Suppressions
from services.sms import told
from services.sms.inbound import Inbound
from services.sms.keywords import Word, meaning
from services.sms.sns import events as sns_events
from services.sms.sns.certificates import Certificates
from services.sms.sns.events import Texted
from services.sms.sns.signature import NOTIFICATION, SUBSCRIPTION, Envelope, SnsSignature
from services.sms.told import Told
from services.sms.twilio import events as twilio_events
from services.sms.twilio.signature import PATH, TwilioSignature

log = logs.get(__name__)

_SUBJECT = subjects.callback(subjects.CHANNELS[Channel.SMS])
_INBOUND_PATH = "/webhooks/twilio/inbound"
_DONE = HttpBody(content_type="text/plain")


class SmsCallbackService:
    """The servicer. `status_url` is where Twilio was told to call, `gateway_url` where the gateway is reached; what
    was called at another address is not signed for us. `help` is what HELP is answered with; empty: nothing."""

    def __init__(
        self,
        bus: Bus,
        suppressions: Suppressions,
        inbound: Inbound,
        twilio: TwilioSignature,
        sns: SnsSignature,
        certificates: Certificates,
        status_url: str,
        gateway_url: str,
        help: str,
    ) -> None:
        self._bus = bus
        self._suppressions = suppressions
        self._inbound = inbound
        self._twilio = twilio
        self._sns = sns
        self._certificates = certificates
        self._status_url = status_url
        self._inbound_url = f"{gateway_url}{_INBOUND_PATH}"
        self._help = help

    async def ReceiveTwilioStatus(self, request: pb.ReceiveTwilioStatusRequest, context: Context) -> HttpBody:
        """Takes what became of a text."""
        headers = _headers(context)
        form = self._twilio.open(_called(self._status_url, headers), request.body.data, headers)
        found = twilio_events.read(form, request.notification_id, request.delivery_id, now())
        if found is not None:
            await self._take(twilio_events.NAME, found)
        return _DONE

    async def ReceiveTwilioInbound(
        self, request: pb.ReceiveTwilioInboundRequest, context: Context
    ) -> HttpBody:
        """Takes what a person texts. Where Twilio knows more words than we do, its own reading counts; it has
        answered those itself."""
        headers = _headers(context)
        form = self._twilio.open(_called(self._inbound_url, headers), request.body.data, headers)
        read_by_twilio = form.get("OptOutType", "")
        word = Word.__members__.get(read_by_twilio) or meaning(form.get("Body", ""))
        number = told.number(form.get("From", ""))
        await self._inbound.obey(word, number, twilio_events.NAME, form.get("MessageSid", ""))
        answers = word == Word.HELP and not read_by_twilio
        return _twiml(self._help if answers else "")

    async def ReceiveSns(self, request: pb.ReceiveSnsRequest, _context: Context) -> HttpBody:
        """Takes what comes on a topic."""
        envelope = await self._sns.open(request.body.data)
        match envelope.type:
            case kind if kind == SUBSCRIPTION:
                await self._certificates.visit(envelope.subscribe_url or "")
                log.info("topic_confirmed", topic=envelope.topic_arn)
            case kind if kind == NOTIFICATION:
                await self._notified(envelope)
            case _:
                log.warning("topic_ended", topic=envelope.topic_arn)
        return _DONE

    async def _notified(self, envelope: Envelope) -> None:
        match sns_events.read(envelope.message, now()):
            case Told() as found:
                await self._take(sns_events.NAME, found)
            case Texted(number, text):
                await self._inbound.obey(meaning(text), number, sns_events.NAME, envelope.message_id)

    async def _take(self, provider: str, found: Told) -> None:
        """The suppression first, so that no event is known whose number is still sent to."""
        if found.stopped:
            reason = SuppressionReason.UNSUBSCRIBE
            await self._suppressions.add(Channel.SMS, found.stopped, reason, provider)
        await self._bus.publish(Outgoing(_SUBJECT, found.callback.SerializeToString()))
        metrics.CALLBACKS.labels(provider, CallbackType.Type.Name(found.callback.type)).inc()


def _headers(context: Context) -> Mapping[str, str]:
    """The headers of a call that are text."""
    return {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}


def _called(url: str, headers: Mapping[str, str]) -> str:
    """The address that Twilio called: what it was told, with the query as it came."""
    query = urlsplit(headers.get(PATH, "")).query
    return urlsplit(url)._replace(query=query).geturl()


def _twiml(text: str) -> HttpBody:
    said = f"<Message>{escape(text)}</Message>" if text else ""
    body = f'<?xml version="1.0" encoding="UTF-8"?><Response>{said}</Response>'
    return HttpBody(content_type="text/xml; charset=utf-8", data=body.encode())
