"""What SendGrid tells later, through the gateway; and the list of those who get nothing any more."""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import time
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf.struct_pb2 import ListValue, Value

from crown.notification.v1.email_service_pb2 import SendEmailRequest
from crown.notification.v1.email_service_pb2_grpc import EmailServiceStub
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Channel
from stack.control import Stack
from tests.e2e.answers import Reply, inspect
from tests.e2e.arrivals import Mailbox
from tests.e2e.people import People, Person, data
from tests.e2e.rest import Caller, Rest
from tests.sendgrid_signer import TIMESTAMP, Signer


@pytest.fixture
def signer(stack: Stack) -> Signer:
    """Signs with the key that the stack's sandbox signs with."""
    return Signer((stack.layout.secrets / "sendgrid-webhook-key.pem").read_bytes())


def event(person: Person, kind: str, **given: Any) -> dict[str, Any]:
    return {
        "event": kind,
        "email": person.email,
        "timestamp": int(time.time()),
        "sg_event_id": secrets.token_hex(8),
        "sg_message_id": f"{secrets.token_hex(8)}.filter",
        "delivery_id": secrets.token_hex(16),
        "notification_id": "",
        **given,
    }


async def post(rest: Rest, body: bytes, headers: dict[str, str], stream: io.BytesIO | None = None) -> Reply:
    url = f"http://{rest.address}/webhooks/sendgrid"
    more = {"content-type": "application/json"}
    async with rest.http.post(url, data=stream or body, headers={**headers, **more}) as answer:
        found = {name.lower(): value for name, value in answer.headers.items()}
        return inspect(Reply(answer.status, found, await answer.read()))


async def looked_up(rest: Rest, address: str) -> Reply:
    body = {"channel": "EMAIL", "address": address}
    return await rest.operator.post("/api/v1/suppressions:look-up", body)


async def outcome(feed: Caller, person: Person) -> tuple[str, str]:
    found = await feed.outcome(await feed.send("email", user_id=person.user_id, data=data()))
    return found["state"], found.get("reason", "")


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        ("bounce", {"type": "bounce", "status": "5.1.1"}, "BOUNCE"),
        ("spamreport", {}, "COMPLAINT"),
        ("group_unsubscribe", {}, "UNSUBSCRIBE"),
    ],
)
async def test_nothing_is_sent_to_an_address_after_that(
    rest: Rest, feed: Caller, people: People, signer: Signer, kind: str, given: dict[str, Any], reason: str
) -> None:
    person = await people.new()
    body = json.dumps([event(person, "processed"), event(person, kind, **given)]).encode()
    for _ in range(2):
        assert (await post(rest, body, signer.headers(body))).status == 200
    assert await outcome(feed, person) == ("SUPPRESSED", f"ADDRESS_SUPPRESSED: {reason}")
    found = (await looked_up(rest, person.email.upper())).ok["suppression"]
    assert (found["reason"], found["source"]) == (reason, "sendgrid")
    # Until somebody who knows better ends it.
    path = f"/api/v1/suppressions/{found['suppression_id']}"
    assert (await rest.operator.request("DELETE", path)).status == 200
    assert (await outcome(feed, person))[0] == "DELIVERED_TO_PROVIDER"


async def test_a_block_is_no_bounce(rest: Rest, feed: Caller, people: People, signer: Signer) -> None:
    person = await people.new()
    body = json.dumps([event(person, "bounce", type="blocked", status="5.7.1")]).encode()
    assert (await post(rest, body, signer.headers(body))).status == 200
    assert (await outcome(feed, person))[0] == "DELIVERED_TO_PROVIDER"


async def test_who_is_not_sendgrid_changes_nothing(rest: Rest, people: People, signer: Signer) -> None:
    person = await people.new()
    body = json.dumps([event(person, "spamreport")]).encode()
    good = signer.headers(body)
    wrong: list[tuple[bytes, dict[str, str]]] = [
        (body, {}),
        (body, Signer().headers(body)),
        (body, signer.headers(body, age_s=400)),
        (body, signer.headers(body, age_s=-400)),
        (body, {**good, TIMESTAMP: "1"}),
        (body, {name: value for name, value in good.items() if name == TIMESTAMP}),
        (body[:-1] + b" ]", good),
        (body.replace(b"spamreport", b"spamrepork"), good),
    ]
    answers = [(await post(rest, raw, headers)).problem for raw, headers in wrong]
    assert {(one.status, one.reason, one.message) for one in answers} == {
        (403, "SIGNATURE_INVALID", "not signed by SendGrid with the key that is set here, or too old")
    }
    assert (await looked_up(rest, person.email)).status == 404


async def test_no_list_of_events(rest: Rest, signer: Signer) -> None:
    found = (await post(rest, b"{}", signer.headers(b"{}"))).problem
    assert (found.status, found.reason) == (400, "UNDECODABLE")
    large = b"[" + b" " * (1_100_000 - 2) + b"]"
    sent = post(rest, large, signer.headers(large), io.BytesIO(large))
    # It may answer and hang up before all of it was written.
    with contextlib.suppress(aiohttp.ClientConnectionError):
        assert (await sent).status == 413


async def test_an_address_on_the_list_by_hand(
    rest: Rest, feed: Caller, people: People, mailbox: Mailbox
) -> None:
    person = await people.new()
    body = {"channel": "EMAIL", "address": person.email}
    made = (await rest.service("feed", "suppressions.write").post("/api/v1/suppressions", body)).ok[
        "suppression"
    ]
    assert (made["reason"], made["source"]) == ("MANUAL", "service:feed")
    assert (await outcome(feed, person)) == ("SUPPRESSED", "ADDRESS_SUPPRESSED: MANUAL")
    direct = (await feed.post("/api/v1/email:send", {"to": person.email, "data": data()})).problem
    assert (direct.status, direct.reason) == (400, "SUPPRESSED")
    assert await mailbox.messages(to=person.email) == []
    listed = (await rest.operator.get("/api/v1/suppressions?channel=EMAIL&reason=MANUAL&limit=1")).ok
    assert listed["suppressions"] == [made]
    for caller in (person.caller, rest.service("feed", "notifications.send"), rest.nobody):
        assert (await caller.get("/api/v1/suppressions")).status in {401, 403}


async def test_what_a_mail_server_does_not_know_gets_no_second_mail(
    feed: Caller, people: People, mailbox: Mailbox
) -> None:
    person = await people.new()
    await mailbox.script("RCPT", person.email, reply="550 5.1.1 no such user")
    assert (await outcome(feed, person))[0] == "FAILED"
    assert await outcome(feed, person) == ("SUPPRESSED", "ADDRESS_SUPPRESSED: BOUNCE")


@pytest.mark.parametrize("path", ["/api/v1/notifications", "/api/v1/email:send"])
async def test_attachments_are_refused(rest: Rest, feed: Caller, people: People, path: str) -> None:
    person = await people.new()
    given = {"data": {**data(), "attachments": [{"name": "a.pdf"}]}}
    whom = {"to": person.email} if path.endswith("send") else {"user_id": person.user_id, "type": "email"}
    found = (await feed.post(path, {**given, **whom})).problem
    assert (found.status, found.violations) == (
        400,
        {"data.attachments": "attachments are not taken: put a link to the file into action_url"},
    )


async def test_attachments_are_refused_by_grpc(
    channel: grpc.aio.Channel, feed: Caller, people: People
) -> None:
    person = await people.new()
    content = NotificationData(title="Heron", attachments=ListValue(values=[Value(string_value="a.pdf")]))
    letter = SendEmailRequest(to=person.email, data=content)
    request = SendNotificationRequest(type=Channel.EMAIL, user_id=person.user_id, data=content)
    for call in (
        EmailServiceStub(channel).SendEmail(letter, metadata=feed.metadata),
        IngestServiceStub(channel).SendNotification(request, metadata=feed.metadata),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert error.value.details() == (
            "data.attachments: attachments are not taken: put a link to the file into action_url"
        )
