"""Callbacks: when they come, and that the providers' own validators take them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import aiohttp
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from sendgrid.helpers.eventwebhook import EventWebhook, EventWebhookHeader
from twilio.request_validator import RequestValidator

from stack.sandbox.callback import Callback, Request, Told
from stack.sandbox.ledger import Draft
from stack.sandbox.postman import Postman, Query
from stack.secrets import Secrets
from tests.e2e.waiting import until

if TYPE_CHECKING:
    from tests.unit.stack.sandbox.conftest import Gateway, Post, Sandbox

SMS = {"To": "+14155550100", "From": "+15005550006", "Body": "x"}


def mail(*people: str) -> dict[str, Any]:
    return {
        "personalizations": [
            {"to": [{"email": person}], "custom_args": {"delivery_id": f"d-{person}"}} for person in people
        ],
        "custom_args": {"notification_id": "n-1"},
        "from": {"email": "crown@example.org"},
        "subject": "Hello",
        "content": [{"type": "text/plain", "value": "Hi"}],
    }


def sendgrid_signed(post: Post, secrets: Secrets) -> bool:
    webhook = EventWebhook(secrets.sendgrid_webhook_public_key().read_text())
    signature = post.headers.get(EventWebhookHeader.SIGNATURE, "")
    if not signature:
        return False
    return bool(
        webhook.verify_signature(post.body.decode(), signature, post.headers[EventWebhookHeader.TIMESTAMP])
    )


def twilio_signed(post: Post, token: str) -> bool:
    form = dict(parse_qsl(post.body.decode(), keep_blank_values=True))
    validator = RequestValidator(token)
    return bool(validator.validate(post.url, form, post.headers.get("X-Twilio-Signature", "")))


def sns_signed(envelope: Mapping[str, str], certificate: bytes, names: tuple[str, ...]) -> bool:
    """As the documentation of SNS has it."""
    told = "".join(f"{name}\n{envelope[name]}\n" for name in names if name in envelope)
    key = x509.load_pem_x509_certificate(certificate).public_key()
    assert isinstance(key, RSAPublicKey)
    try:
        key.verify(base64.b64decode(envelope.get("Signature", "")), told.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


async def test_sendgrid_s_events_come_together_and_signed(
    sandbox: Sandbox, gateway: Gateway, secrets: Secrets
) -> None:
    callbacks = [{"event": "delivered"}, {"event": "open"}, {"event": "complaint", "after_s": 0.1}]
    await sandbox.script(provider="sendgrid", answer={"callbacks": callbacks}, times=1)
    assert (await sandbox.mail(mail("ann@example.org", "bob@example.org")))[0] == 202
    first, second = await gateway.got(2)
    assert first.url == f"{gateway.url}/webhooks/sendgrid"
    assert all(sendgrid_signed(post, secrets) for post in (first, second))
    events = json.loads(first.body)
    assert [(e["event"], e["email"]) for e in events] == [
        (event, person)
        for event in ("delivered", "open")
        for person in ("ann@example.org", "bob@example.org")
    ]
    [entry, _] = await sandbox.entries(provider="sendgrid")
    assert (events[0]["notification_id"], events[0]["delivery_id"]) == ("n-1", "d-ann@example.org")
    assert events[0]["sg_message_id"].startswith(f"{entry['message_id']}.")
    assert {event["event"] for event in json.loads(second.body)} == {"spamreport"}


@pytest.mark.parametrize("signed", ["wrong", "missing", "old"])
async def test_what_is_badly_signed_is_not_taken_for_good(
    sandbox: Sandbox, gateway: Gateway, secrets: Secrets, signed: str
) -> None:
    gateway.statuses = [403]
    answer = {"callbacks": [{"event": "bounce", "signed": signed}]}
    await sandbox.script(provider="sendgrid", answer=answer, times=1)
    await sandbox.mail(mail("ann@example.org"))
    [post] = await gateway.got(1)
    # An old one has a good signature: its time is what is wrong with it.
    assert sendgrid_signed(post, secrets) == (signed == "old")
    [told] = await until(lambda: callbacks_of(sandbox), lambda found: found[0]["status"])
    assert (told["state"], told["status"], told["tries"]) == ("refused", 403, 1)


async def test_twilio_tells_at_the_address_that_came_along(sandbox: Sandbox, gateway: Gateway) -> None:
    url = f"{gateway.url}/webhooks/twilio/status?notification_id=n-1&delivery_id=d%201"
    callbacks = [
        {"event": event, "after_s": 0.02 * i} for i, event in enumerate(("queued", "sent", "undelivered"))
    ]
    await sandbox.script(provider="twilio", answer={"callbacks": callbacks}, times=1)
    _, message = await sandbox.sms(**SMS, StatusCallback=url)
    posts = await gateway.got(3)
    forms = [dict(parse_qsl(post.body.decode())) for post in posts]
    assert [form["MessageStatus"] for form in forms] == ["queued", "sent", "undelivered"]
    assert {(form["MessageSid"], form["To"]) for form in forms} == {(message["sid"], SMS["To"])}
    assert forms[2]["ErrorCode"] == "30005"
    assert all(twilio_signed(post, sandbox.twilio_token) for post in posts)
    assert not twilio_signed(posts[0], "another token")


async def test_a_text_without_an_address_is_told_of_to_nobody(sandbox: Sandbox, gateway: Gateway) -> None:
    await sandbox.script(provider="twilio", answer={"callbacks": [{"event": "sent"}]}, times=2)
    await sandbox.sms(**SMS)
    await sandbox.sms(**SMS, StatusCallback="http://192.0.2.1/elsewhere")
    told = await until(
        lambda: callbacks_of(sandbox), lambda found: len(found) == 2 and found[-1]["state"] != "waiting"
    )
    assert {one["state"] for one in told} == {"unwanted"}
    assert gateway.posts == []


async def test_sns_tells_on_its_topic(sandbox: Sandbox, gateway: Gateway, secrets: Secrets) -> None:
    from tests.unit.stack.sandbox.test_sns import opened

    answer = {"callbacks": [{"event": "delivered", "times": 2}]}
    await sandbox.script(provider="sns", answer=answer, times=1)
    async with opened(sandbox) as sns:
        message_id = (await sns.publish(PhoneNumber=SMS["To"], Message="x"))["MessageId"]
    posts = await gateway.got(2)
    envelope = json.loads(posts[0].body)
    async with sandbox.http.get(envelope["SigningCertURL"]) as answered:
        certificate = await answered.read()
    trusted = x509.load_pem_x509_certificate(secrets.sns_ca().read_bytes())
    x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(trusted)
    names = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
    assert sns_signed(envelope, certificate, names)
    assert not sns_signed({**envelope, "Message": "{}"}, certificate, names)
    event = json.loads(envelope["Message"])
    assert (event["eventType"], event["messageId"], event["isFinal"]) == ("TEXT_DELIVERED", message_id, True)


async def test_a_topic_is_confirmed_by_who_wants_it(sandbox: Sandbox, gateway: Gateway) -> None:
    status, body = await sandbox.call("POST", "/sns/subscription")
    assert (status, body["status"]) == (200, 200)
    [post] = await gateway.got(1)
    envelope = json.loads(post.body)
    assert envelope["Type"] == "SubscriptionConfirmation"
    for expected in (200, 400):  # a token is good for once
        async with sandbox.http.get(envelope["SubscribeURL"]) as answer:
            assert answer.status == expected


async def test_a_person_texts_and_hears_back(sandbox: Sandbox, gateway: Gateway) -> None:
    gateway.reply = "<Response><Message>Texts end &amp; begin</Message></Response>"
    text = {"from": SMS["To"], "body": "Help "}
    status, body = await sandbox.call("POST", "/twilio/inbound", json=text)
    assert (status, body) == (200, {"stopped": [], "status": 200, "replies": ["Texts end & begin"]})
    [post] = gateway.posts
    form = dict(parse_qsl(post.body.decode()))
    assert (post.url, form["From"], form["Body"]) == (
        f"{gateway.url}/webhooks/twilio/inbound",
        SMS["To"],
        "Help ",
    )
    assert twilio_signed(post, sandbox.twilio_token)
    assert [e["text"] for e in await sandbox.entries(recipient=SMS["To"])] == ["Texts end & begin"]
    _, body = await sandbox.call("POST", "/sns/inbound", json={**text, "body": "STOP"})
    assert body["stopped"] == [SMS["To"]]
    message = json.loads(json.loads(gateway.posts[1].body)["Message"])
    assert (message["originationNumber"], message["messageBody"]) == (SMS["To"], "STOP")


async def test_more_is_told_of_what_was_taken(sandbox: Sandbox, gateway: Gateway) -> None:
    await sandbox.mail(mail("ann@example.org"))
    [entry] = await sandbox.entries()
    asked = {"provider": "sendgrid", "message_id": entry["message_id"], "event": "click"}
    assert await sandbox.call("POST", "/callbacks", json=asked) == (200, {"planned": 1})
    [post] = await gateway.got(1)
    assert json.loads(post.body)[0]["event"] == "click"
    for change, field in (
        ({"message_id": "nobody's"}, "message_id"),
        ({"event": "eaten"}, "event"),
        ({"provider": "fcm"}, "event"),
        ({"times": 0}, "times"),
    ):
        status, body = await sandbox.call("POST", "/callbacks", json={**asked, **change})
        assert (status, body["field"]) == (400, field)


async def test_what_had_no_effect_is_told_of_to_nobody(sandbox: Sandbox, gateway: Gateway) -> None:
    answer = {"status": 500, "callbacks": [{"event": "delivered"}]}
    await sandbox.script(provider="sendgrid", answer=answer, times=1)
    await sandbox.mail(mail("ann@example.org"))
    assert await callbacks_of(sandbox) == []
    # A connection that breaks off after the effect is what callbacks settle.
    answer = {"reset": "after", "callbacks": [{"event": "delivered"}]}
    await sandbox.script(provider="sendgrid", answer=answer, times=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await sandbox.mail(mail("ann@example.org"))
    assert len(await gateway.got(1)) == 1


async def callbacks_of(sandbox: Sandbox) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await sandbox.call("GET", "/callbacks"))[1]["callbacks"]
    return found


class Line:
    """A provider that tells the usual; where it calls is open."""

    batch = 1
    usual = (Callback("delivered"),)

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, told: Sequence[Told]) -> Request:
        return Request(self.url, {}, told[0].event.encode())


async def test_who_does_not_answer_is_called_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stack.sandbox.postman._AGAIN_S", (0.01, 0.01))
    gateway.statuses = [503, 502]
    postman = Postman({"p": Line(gateway.url)}, gateway.url, usual=True)
    running = asyncio.create_task(postman.run())
    postman.expect("p", [Draft("ann")], "m-1", None)
    await gateway.got(3)
    [sent] = await until(lambda: _log(postman), lambda found: found[0].state != "waiting")
    assert (sent.state, sent.tries) == ("taken", 3)
    gateway.statuses = [500, 500, 500]
    postman.expect("p", [Draft("ann")], "m-2", None)
    [_, sent] = await until(lambda: _log(postman), lambda found: found[-1].state != "waiting")
    assert (sent.state, sent.tries) == ("refused", 3)
    running.cancel()


async def test_without_the_usual_nothing_is_told() -> None:
    postman = Postman({"p": Line("http://127.0.0.1:1")}, usual=False)
    postman.expect("p", [Draft("ann")], "m-1", None)
    postman.expect("fcm", [Draft("ann")], "m-2", [Callback("delivered")])
    assert postman.log(Query()) == []


async def _log(postman: Postman) -> Any:
    return postman.log(Query())
