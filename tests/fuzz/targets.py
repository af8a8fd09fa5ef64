"""The parsers of our own that read what strangers send, each as a function of bytes. One returns where the input was
read or refused as its callers expect; whatever else it raises is a bug, and so is a property that does not hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from crown import addresses, links, retry_after, safe_json, token, tracing, vault
from crown.egress import Egress
from crown.errors import InvalidRequest, SignatureInvalid, Undecodable, Violation
from crown.validation import DEPTH_MOST
from services.email.sendgrid import events as sendgrid_events
from services.email.sendgrid.signature import SendGridSignature
from services.email.unsubscribe_link import UnsubscribeLinks
from services.ingest.inbox import cursor
from services.ingest.schedules import times
from services.realtime import handshake, proxies, sse
from services.realtime.message import Broadcast, Message, Push, Reply
from services.realtime.origins import Origins
from services.realtime.serializer import Serializer, UndecodableFrame, for_version
from services.realtime.sessions import Tokens
from services.sms.keywords import Word, meaning
from services.sms.sns import certificates
from services.sms.sns import events as sns_events
from services.sms.sns.certificates import Certificates
from services.sms.sns.signature import SnsSignature
from services.sms.told import Told
from services.sms.twilio import events as twilio_events
from services.sms.twilio import signature as twilio_signature
from services.sms.twilio.signature import TwilioSignature

Target = Callable[[bytes], None]

_NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
_HOSTS = ("crown.example", "cdn.example")
_KEY = vault.Key(bytes(range(32)))


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


# -- sockets


def _spoken(version: str, frame: str | bytes) -> None:
    """A frame, and every answer that could be made to it."""
    serializer = for_version(version)
    assert serializer is not None
    try:
        message = serializer.decode(frame)
    except UndecodableFrame:
        return
    for plain in (serializer, for_version(version, binary=False)):
        assert plain is not None
        _answered(plain, message)


def _answered(serializer: Serializer, message: Message) -> None:
    # Only who is on a topic is sent bytes, and the name of one is text.
    topic = message.topic if isinstance(message.topic, str) else "topic"
    refused = Reply(message.join_ref, message.ref, message.topic, "error", {"reason": "unmatched topic"})
    json.loads(serializer.encode(refused).data)
    contents: tuple[dict[str, str] | bytes, ...] = ({}, b"\xff\x00")
    for content in contents:
        answer = serializer.encode(Reply(message.join_ref, message.ref, topic, "ok", content))
        pushed = serializer.encode(Push(message.join_ref, message.ref, topic, "event", message.payload))
        everybody = serializer.fastlane(Broadcast(topic, "event", content))
        for frame in (answer, pushed, everybody):
            if not frame.binary:
                json.loads(frame.data)


def phoenix_text(data: bytes) -> None:
    """A text frame of either version."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    _spoken("2.0.0", text)
    _spoken("1.0.0", text)


def phoenix_binary(data: bytes) -> None:
    """A binary frame."""
    _spoken("2.0.0", data)
    _spoken("1.0.0", data)


def socket_request(data: bytes) -> None:
    """The address of a handshake: its path, its query, and the version that is in there."""
    try:
        _, parameters = handshake.split(_text(data))
    except handshake.Refused:
        return
    for_version(dict(parameters).get("vsn"))


def origin(data: bytes) -> None:
    """An Origin, against a list and against the host. Nobody else's is taken for one of ours."""
    text = _text(data)
    for listed in (Origins.of("https://app.example, https://*.app.example"), Origins()):
        if listed.allow(text, "app.example:3005"):
            assert text.lower().partition("://")[2].partition(":")[0].endswith("app.example"), text


def forwarded(data: bytes) -> None:
    """An X-Forwarded-For, as it is counted."""
    assert proxies.Proxies.of(proxies.PRIVATE).client("10.0.0.1", [_text(data)])


def last_event_id(data: bytes) -> None:
    """Where an EventSource was."""
    sse.position(_text(data))


def poll_token(data: bytes) -> None:
    """The token of a session that polls: none of them is ours."""
    assert Tokens(_KEY).read(_text(data)) is None


# -- JSON and tokens


def json_value(data: bytes) -> None:
    """What is accepted, another strict parser accepts too, and reads alike."""
    try:
        value = safe_json.decode(data)
    except InvalidRequest:
        return
    assert _same(value, json.loads(data, object_pairs_hook=_once, parse_constant=_refuse)), data
    assert _depth(value) <= DEPTH_MOST + 1
    json.dumps(value, allow_nan=False).encode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs)
    return found


def _refuse(word: str) -> None:
    raise AssertionError(word)


def _same(one: Any, other: Any) -> bool:
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(_same, one, other))
        case _:
            return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def access_token(data: bytes) -> None:
    """A JWT before its signature is looked at."""
    try:
        token.read(_text(data))
    except token.BadToken:
        return


def traceparent(data: bytes) -> None:
    """The trace of a caller."""
    tracing.adopt(_text(data))
    tracing.current()
    tracing.adopt(None)


# -- what providers post


def sendgrid(data: bytes) -> None:
    """A list of events, read as if it were signed; and a call that is not."""
    try:
        for told in sendgrid_events.read(data, _NOW):
            told.callback.SerializeToString()
    except Undecodable:
        pass
    _is_refused(lambda: SendGridSignature([]).check(_text(data), _text(data), data))


def twilio(data: bytes) -> None:
    """A form, read as if it were signed; and a call that is not."""
    signature = TwilioSignature(["token"])
    _is_refused(lambda: signature.open("https://crown.example/x", data, {"x-twilio-signature": _text(data)}))
    form = dict(twilio_signature._form(data) or ())
    told = twilio_events.read(form, form.get("notification_id", ""), form.get("delivery_id", ""), _NOW)
    if told is not None:
        told.callback.SerializeToString()


def sns_envelope(data: bytes) -> None:
    """What is posted to the topic's address; nothing is fetched because of it."""
    signature = SnsSignature(_Nobody(), ["arn:aws:sns:eu-west-1:1:texts"], lambda: _NOW)
    waiting = signature.open(data)
    try:
        waiting.send(None)
    except SignatureInvalid:
        return
    raise AssertionError("was taken for signed")


class _Nobody(Certificates):
    """Knows no certificate, and fetches none."""

    def __init__(self) -> None:
        self._aws, self._extra = Egress.of(certificates._AWS), Egress()

    async def key(self, url: str) -> Any:
        """See Certificates. What would be asked is a host of AWS."""
        if self._may_call(url, certificates._CERTIFICATE):
            assert (urlsplit(url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")), url
        raise SignatureInvalid("nobody")


def sns_event(data: bytes) -> None:
    """What a signed message says."""
    told = sns_events.read(_text(data), _NOW)
    if isinstance(told, Told):
        told.callback.SerializeToString()


def _is_refused(check: Callable[[], object]) -> None:
    try:
        check()
    except SignatureInvalid:
        return
    raise AssertionError("was taken for signed")


# -- what people and callers write


def link_token(data: bytes) -> None:
    """The token of an unsubscribe link: none of them is ours."""
    sealed = UnsubscribeLinks({"data": bytes(32)}, "https://crown.example", lambda: _NOW)
    assert sealed.read(_text(data)) is None


def keyword(data: bytes) -> None:
    """What a text says: a word that we know only where its letters are that word."""
    text = _text(data)
    if meaning(text) is not Word.OTHER:
        assert 2 <= sum(each.isalnum() for each in text) <= 40


def email_address(data: bytes) -> None:
    """One address, in a form that stays itself and that no header breaks at."""
    found = addresses.email(_text(data), "email")
    if not isinstance(found, Violation):
        assert found.isascii()
        assert found.isprintable()
        assert found.count("@") == 1
        assert not set(found) & set(' ,;<>"\\()'), found
        assert addresses.email(found, "email") == found


def phone_number(data: bytes) -> None:
    """One number, in a form that stays itself."""
    found = addresses.phone(_text(data), "phone")
    if not isinstance(found, Violation):
        assert found[1:].isdecimal()
        assert found.isascii()
        assert addresses.phone(found, "phone") == found


def link(data: bytes) -> None:
    """What is accepted leads to an allowed host, as browsers read it: they drop tabs and line ends, and take a
    backslash for a slash."""
    url = _text(data)
    if links.action_problem(url, _HOSTS) is None:
        as_browsers = "".join(each for each in url if each not in "\t\r\n").strip().replace("\\", "/")
        assert as_browsers == url
        if not url.startswith("/"):
            assert url.lower().startswith("https://")
            _leads_to_us(url)
        else:
            assert not url.startswith("//")
    if links.image_problem(url, _HOSTS) is None:
        _leads_to_us(url)


def _leads_to_us(url: str) -> None:
    host = urlsplit(url).hostname or ""
    assert any(host == allowed or host.endswith(f".{allowed}") for allowed in _HOSTS), url
    assert "@" not in urlsplit(url).netloc


def outgoing_url(data: bytes) -> None:
    """An address that we would call."""
    url = _text(data)
    if Egress.of(["*.push.example", "127.0.0.1:3009"]).problem(url) is None:
        assert urlsplit(url).hostname == "127.0.0.1" or (urlsplit(url).hostname or "").endswith(
            ".push.example"
        )


def retry_header(data: bytes) -> None:
    """Retry-After, and its like: up to a day, or nothing."""
    for read in (retry_after.seconds, retry_after.until_epoch):
        found = read(_text(data), _NOW)
        assert found is None or 0 <= found <= 86_400


def page_cursor(data: bytes) -> None:
    """A place in a list; what it becomes, the store can keep."""
    try:
        moment, _ = cursor.place(_text(data))
    except InvalidRequest:
        return
    assert moment.tzinfo is not None


def cron(data: bytes) -> None:
    """The times of a schedule, and their zone behind a line break."""
    expression, _, zone = _text(data)[:164].partition("\n")
    if not times.problems(expression, zone, _NOW):
        times.after(expression, zone, _NOW)


TARGETS: Mapping[str, Target] = {
    target.__name__: target
    for target in (
        phoenix_text, phoenix_binary, socket_request, origin, forwarded, last_event_id, poll_token,
        json_value, access_token, traceparent, sendgrid, twilio, sns_envelope, sns_event, link_token, keyword,
        email_address, phone_number, link, outgoing_url, retry_header, page_cursor, cron,
    )
}  # fmt: skip
