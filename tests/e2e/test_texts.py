"""Text messages from end to end: what is refused, what a text counts as, what Twilio tells later and people text
back, through the gateway and signed as Twilio signs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from twilio.request_validator import RequestValidator

from stack.control import Stack
from stack.secrets import read
from tests.e2e.answers import Reply
from tests.e2e.arrivals import Ledger
from tests.e2e.people import People, Person, data
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until

STATUS, INBOUND = "/webhooks/twilio/status", "/webhooks/twilio/inbound"
OWN = "+15005550006"


@dataclass(frozen=True)
class Twilio:
    """Calls back as Twilio does."""

    gateway: str
    caller: Caller
    token: str

    async def post(self, path: str, form: dict[str, str], token: str = "", **headers: str) -> Reply:
        """One signed call."""
        signature = RequestValidator(token or self.token).compute_signature(f"{self.gateway}{path}", form)
        given = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Twilio-Signature": signature,
            **headers,
        }
        return await self.caller.post(path, urlencode(form).encode(), headers=given)

    async def text(self, number: str, body: str) -> Reply:
        """A person texts back."""
        return await self.post(INBOUND, {"MessageSid": _sid(), "From": number, "To": OWN, "Body": body})


def _sid() -> str:
    return f"SM{secrets.token_hex(16)}"


@pytest.fixture(scope="session")
def twilio(stack: Stack, rest: Rest) -> Twilio:
    return Twilio(stack.settings.gateway_url, rest.nobody, read(stack.secrets.twilio_key()).partition(":")[2])


async def send(feed: Caller, person: Person) -> dict[str, Any]:
    """What became of a text."""
    return await feed.outcome(await feed.send("sms", user_id=person.user_id, data=data()))


@pytest.mark.parametrize(
    ("to", "said", "field"),
    [
        ("2025560000", {"title": "Hello"}, "to"),
        ("+1202556000", {"title": "Hello"}, "to"),
        ("12345", {"title": "Hello"}, "to"),
        ("+19005551234", {"title": "Hello"}, "to"),
        ("+491805123456", {"title": "Hello"}, "to"),
        ("+18765551234", {"title": "Hello"}, "to"),
        (OWN, {"title": "Hello"}, "to"),
        ("+12025560000", {"title": " ", "message": " \n "}, "data"),
    ],
    ids=["no plus", "too short", "short code", "premium", "shared cost", "country", "our own", "only spaces"],
)
async def test_what_is_refused(feed: Caller, to: str, said: dict[str, str], field: str) -> None:
    answer = await feed.post("/api/v1/sms:send", {"to": to, "data": said})
    assert (answer.status, answer.problem.reason) == (400, "INVALID_REQUEST")
    assert field in answer.problem.violations


@pytest.mark.parametrize(
    ("message", "encoding", "segments", "end"),
    [
        ("x" * 160, "GSM-7", 1, "x"),
        ("x" * 161, "GSM-7", 2, "x"),
        ("x" * 1_601, "GSM-7", 6, "..."),
        ("🎉" * 36, "UCS-2", 2, "🎉"),
        ("“quoted”", "GSM-7", 1, '"'),
    ],
    ids=["one", "two", "1,601 characters", "emoji", "typographic"],
)
async def test_what_a_text_counts_as(
    feed: Caller, people: People, ledger: Ledger, message: str, encoding: str, segments: int, end: str
) -> None:
    to = (await people.new()).phone
    preview = (await feed.post("/api/v1/sms:preview", {"to": to, "data": {"message": message}})).ok
    assert (preview["encoding"], preview["segments"]) == (encoding, segments)
    assert (preview["country"], preview["sender"], preview.get("refusal", "")) == ("US", OWN, "")
    receipt = (await feed.post("/api/v1/sms:send", {"to": to, "data": {"message": message}})).ok["receipt"]
    assert receipt["segments"] == segments
    (effect,) = await ledger.entries(recipient=to)
    assert effect["text"] == preview["text"]
    assert effect["text"].endswith(end)


async def test_a_number_that_may_not_be_texted(feed: Caller, people: People, ledger: Ledger) -> None:
    sent = await feed.send(
        "sms", user_id=people.stranger().user_id, data=data(), address={"phone": "+18765551234"}
    )
    delivery = await feed.outcome(sent)
    assert (delivery["state"], delivery["reason"]) == ("FAILED", "COUNTRY_NOT_ALLOWED")
    assert await ledger.entries(kind="all", notification_id=sent) == []


async def test_a_status_moves_the_state(feed: Caller, people: People, ledger: Ledger, twilio: Twilio) -> None:
    sent = await feed.send("sms", user_id=(await people.new()).user_id, data=data())
    await feed.outcome(sent)
    effect = await ledger.effect(sent)
    path = f"{STATUS}?{urlencode({'notification_id': sent, 'delivery_id': effect['delivery_id']})}"
    form = {"MessageSid": effect["message_id"], "MessageStatus": "undelivered", "ErrorCode": "30005"}
    for token, status in (("f" * 32, 403), ("", 200), ("", 200)):
        assert (await twilio.post(path, form, token)).status == status

    async def state() -> str:
        (delivery,) = (await feed.look(sent))["deliveries"]
        return str(delivery["state"])

    assert await until(state, lambda found: found != "DELIVERED_TO_PROVIDER") == "BOUNCED"
    # Late, and out of order.
    form = {"MessageSid": effect["message_id"], "MessageStatus": "delivered"}
    assert (await twilio.post(path, form)).status == 200

    async def callbacks() -> list[str]:
        entries = (await feed.get(f"/api/v1/notifications/{sent}/timeline")).ok["entries"]
        return [str(entry) for entry in entries if entry["event"] == "CALLBACK"]

    found = await until(callbacks, lambda found: any("'DELIVERED'" in entry for entry in found))
    # Told twice, and known once.
    assert len([entry for entry in found if "30005" in entry]) == 1
    assert await state() == "BOUNCED"


async def test_stop_and_start(feed: Caller, people: People, ledger: Ledger, twilio: Twilio) -> None:
    person = await people.new()
    answer = await twilio.text(person.phone, "Stop.")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert answer.body.endswith(b"<Response></Response>")
    delivery = await send(feed, person)
    assert (delivery["state"], delivery["reason"]) == ("SUPPRESSED", "ADDRESS_SUPPRESSED: UNSUBSCRIBE")
    direct = await feed.post("/api/v1/sms:send", {"to": person.phone, "data": {"title": "Hello"}})
    assert (direct.status, direct.problem.reason) == (400, "SUPPRESSED")
    assert await ledger.entries(kind="all", recipient=person.phone) == []
    await twilio.text(person.phone, "START")
    assert (await send(feed, person))["state"] == "DELIVERED_TO_PROVIDER"


@pytest.mark.parametrize("path", [STATUS, INBOUND, "/webhooks/sns"])
@pytest.mark.parametrize("body", [b"", b"MessageSid=SM1&Body=STOP", b"{}", b"\xff\x00"])
async def test_who_has_no_key_gets_nothing(rest: Rest, path: str, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": "AAAA"}
    answer = await rest.nobody.post(path, body, headers=headers)
    assert (answer.status, answer.problem.reason) == (403, "SIGNATURE_INVALID")


async def test_the_path_that_is_signed_is_the_gateways_word(twilio: Twilio) -> None:
    form = {"MessageSid": _sid(), "MessageStatus": "delivered"}
    headers = {"X-Envoy-Original-Path": f"{STATUS}?delivery_id=x"}
    assert (await twilio.post(STATUS, form, **headers)).status == 200
