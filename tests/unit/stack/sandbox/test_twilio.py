"""Twilio's rules, driven by the real client where it can be made to say what is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import aiohttp
import pytest
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from stack.sandbox.twilio_text import segments

if TYPE_CHECKING:
    from tests.unit.stack.sandbox.conftest import Sandbox

FROM = "+15005550006"
TO = "+14155550100"


@pytest.fixture
def twilio(sandbox: Sandbox) -> Iterator[Client]:
    http = TwilioHttpClient(timeout=5)
    client = Client(sandbox.twilio_sid, sandbox.twilio_token, http_client=http)
    client.api.base_url = sandbox.url
    yield client
    http.session.close()


async def test_a_message_is_accepted_recorded_and_found_again(sandbox: Sandbox, twilio: Client) -> None:
    callback = "http://127.0.0.1:3005/webhooks/twilio/status?notification_id=n-1&delivery_id=d-1"
    sent = await asyncio.to_thread(
        twilio.messages.create, to=TO, from_=FROM, body="Code 123", status_callback=callback
    )
    assert sent.sid.startswith("SM")
    assert len(sent.sid) == 34
    assert (sent.status, sent.to, sent.from_, sent.body) == ("queued", TO, FROM, "Code 123")
    assert sent.date_sent is None
    assert sent.num_segments == "1"
    [entry] = await sandbox.entries(notification_id="n-1")
    assert entry["message_id"] == sent.sid
    assert (entry["delivery_id"], entry["recipient"], entry["text"]) == ("d-1", TO, "Code 123")
    fetched = await asyncio.to_thread(twilio.messages(sent.sid).fetch)
    assert (fetched.body, fetched.status) == ("Code 123", "sent")


async def test_the_list_filters_and_pages(sandbox: Sandbox, twilio: Client) -> None:
    for number in range(5):
        await sandbox.sms(To=TO, From=FROM, Body=f"text {number}")
    await sandbox.sms(To="+14155550111", From=FROM, Body="another person")
    found = await asyncio.to_thread(twilio.messages.list, to=TO, from_=FROM, page_size=2)
    assert [message.body for message in found] == [f"text {number}" for number in (4, 3, 2, 1, 0)]
    today = datetime.now(UTC)
    assert len(await asyncio.to_thread(twilio.messages.list, to=TO, date_sent_after=today.date())) == 5
    hour = timedelta(hours=1)
    assert await asyncio.to_thread(twilio.messages.list, date_sent_after=today + hour) == []
    assert await asyncio.to_thread(twilio.messages.list, date_sent_before=today - hour) == []
    assert len(await asyncio.to_thread(twilio.messages.list, date_sent_after=today - hour)) == 6
    assert await asyncio.to_thread(twilio.messages.list, to="+14155550199") == []


async def test_a_page_without_its_token_is_refused(sandbox: Sandbox, twilio: Client) -> None:
    with pytest.raises(TwilioException, match='"code":20001'):
        await asyncio.to_thread(twilio.messages.page, page_number=1)


async def test_a_wrong_token_is_refused(sandbox: Sandbox) -> None:
    status, body = await sandbox.sms(token="wrong", To=TO, From=FROM, Body="x")
    assert status == 401
    assert (body["code"], body["status"]) == (20003, 401)
    assert body["more_info"].endswith("/20003")


async def test_another_account_is_not_found(sandbox: Sandbox, twilio: Client) -> None:
    other = twilio.api.v2010.accounts("AC" + "1" * 32)
    with pytest.raises(TwilioRestException) as refusal:
        await asyncio.to_thread(other.messages.create, to=TO, from_=FROM, body="x")
    assert (refusal.value.status, refusal.value.code) == (404, 20404)


async def test_an_unknown_message_is_not_found(sandbox: Sandbox, twilio: Client) -> None:
    with pytest.raises(TwilioRestException) as refusal:
        await asyncio.to_thread(twilio.messages("SM" + "0" * 32).fetch)
    assert refusal.value.code == 20404


GOOD = {"To": TO, "From": FROM, "Body": "x"}
BAD = {
    "no to": ({"To": ""}, 21604),
    "national number": ({"To": "4155550100"}, 21211),
    "letters": ({"To": "+1415555ABCD"}, 21211),
    "zero country": ({"To": "+0155550100"}, 21211),
    "too long": ({"To": "+1234567890123456"}, 21211),
    "newline": ({"To": TO + "\n"}, 21211),
    "other digits": ({"To": "+1415555\u0660\u0661\u0662\u0663"}, 21211),
    "no from": ({"From": ""}, 21603),
    "bad from": ({"From": "+1"}, 21212),
    "own number": ({"To": FROM}, 21266),
    "no body": ({"Body": ""}, 21602),
    "blank body": ({"Body": " \n"}, 21602),
    "long body": ({"Body": "x" * 1601}, 21617),
    "bad callback": ({"StatusCallback": "/status"}, 21609),
    "callback of another kind": ({"StatusCallback": "ftp://example.org/x"}, 21609),
    "magic invalid": ({"To": "+15005550001"}, 21211),
    "magic no route": ({"To": "+15005550002"}, 21612),
    "magic region": ({"To": "+15005550003"}, 21408),
    "magic blocked": ({"To": "+15005550004"}, 21610),
    "magic landline": ({"To": "+15005550009"}, 21614),
    "magic from": ({"From": "+15005550007"}, 21606),
}


@pytest.mark.parametrize(("change", "code"), BAD.values(), ids=BAD.keys())
async def test_a_bad_message_is_refused_by_code(sandbox: Sandbox, change: dict[str, str], code: int) -> None:
    status, body = await sandbox.sms(**{**GOOD, **change})
    assert status == 400
    assert body["code"] == code
    assert body["status"] == 400
    assert body["message"]
    assert body["more_info"].endswith(str(code))
    [entry] = await sandbox.entries(kind="refusal", provider="twilio")
    assert entry["answer"] == body
    assert await sandbox.entries() == []


@pytest.mark.parametrize("sender", ["CROWN", "12345", "MG" + "0" * 32])
async def test_senders_that_are_no_numbers(sandbox: Sandbox, sender: str) -> None:
    assert (await sandbox.sms(**{**GOOD, "From": sender}))[0] == 201


async def test_json_is_no_form(sandbox: Sandbox) -> None:
    path = f"/2010-04-01/Accounts/{sandbox.twilio_sid}/Messages.json"
    headers = {"Authorization": aiohttp.encode_basic_auth(sandbox.twilio_sid, sandbox.twilio_token)}
    status, body = await sandbox.call("POST", path, json=GOOD, headers=headers)
    assert (status, body["code"]) == (400, 21604)


async def test_stop_and_start(sandbox: Sandbox) -> None:
    await sandbox.call("POST", "/twilio/inbound", json={"from": TO, "body": " stop "})
    assert (await sandbox.sms(**GOOD))[1]["code"] == 21610
    await sandbox.call("POST", "/twilio/inbound", json={"from": TO, "body": "hello"})
    assert (await sandbox.sms(**GOOD))[1]["code"] == 21610
    await sandbox.call("POST", "/twilio/inbound", json={"from": TO, "body": "START"})
    assert (await sandbox.sms(**GOOD))[0] == 201


async def test_a_text_from_no_number_is_refused(sandbox: Sandbox) -> None:
    status, body = await sandbox.call("POST", "/twilio/inbound", json={"from": "ann", "body": "STOP"})
    assert status == 400
    assert body["field"] == "from"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
    ],
)
def test_segments(text: str, parts: int) -> None:
    assert segments(text) == parts
