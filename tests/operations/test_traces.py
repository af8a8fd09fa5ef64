"""One trace for each notification: from the gateway over the bus to every attempt, the provider's callback and the
sender's webhook, as a collector gets it from the real processes."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from stack.commands import explain, webhook_secret
from stack.control import Stack
from tests.collector import Collector, Span
from tests.e2e.arrivals import Mailbox
from tests.e2e.people import People, Person, data
from tests.e2e.rest import Caller, Rest
from tests.receiver import Receiver, receiving
from tests.sendgrid_signer import Signer

SEND = "crown.notification.v1.IngestService/SendNotification"
# With the first backoff of an e-mail.
RETRIED_WITHIN_S = 60.0
CAMPAIGN = 1_250


@pytest.fixture
async def receiver(stack: Stack, hook: socket.socket) -> AsyncIterator[Receiver]:
    async with receiving(hook, webhook_secret.of(stack, "feed")) as made:
        yield made


def begun(*, sampled: bool = True) -> tuple[str, str, dict[str, str]]:
    """A trace that a caller has begun: its id, the caller's step, and the header."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, {"traceparent": f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"}


def one(spans: Sequence[Span], name: str) -> Span:
    (found,) = (span for span in spans if span.name == name)
    return found


def under(spans: Sequence[Span], parent: Span, name: str) -> Span:
    (found,) = (span for span in spans if span.name == name and span.parent == parent.span_id)
    return found


async def bounce(rest: Rest, stack: Stack, person: Person, delivery_id: str) -> None:
    """SendGrid tells that the mail came back."""
    signer = Signer((stack.layout.secrets / "sendgrid-webhook-key.pem").read_bytes())
    event = {
        "event": "bounce",
        "email": person.email,
        "timestamp": int(time.time()),
        "sg_message_id": f"{secrets.token_hex(8)}.filter",
        "delivery_id": delivery_id,
    }
    body = json.dumps([event]).encode()
    headers = {**signer.headers(body), "content-type": "application/json"}
    url = f"http://{rest.address}/webhooks/sendgrid"
    async with rest.http.post(url, data=body, headers=headers) as answer:
        assert answer.status == 200


async def test_one_trace_from_the_gateway_to_the_callback(
    rest: Rest,
    stack: Stack,
    feed: Caller,
    people: People,
    mailbox: Mailbox,
    receiver: Receiver,
    collector: Collector,
    capsys: pytest.CaptureFixture[str],
) -> None:
    person = await people.new()
    await mailbox.script("RCPT", person.email, reply="451 later")
    trace_id, caller, headers = begun()
    body = {
        "user_id": person.user_id,
        "channels": ["email", "real_time"],
        "kind": "comment",
        "data": data(),
        "webhook_url": receiver.url,
    }
    notification_id = str((await feed.try_send(body, headers=headers)).ok["notification_id"])
    settled = await feed.settled(notification_id, RETRIED_WITHIN_S)
    assert settled["trace_id"] == trace_id
    email = next(found for found in settled["deliveries"] if found["channel"] == "EMAIL")
    await bounce(rest, stack, person, email["delivery_id"])
    # One webhook for what was shown, one for what was handed over, one for what came back.
    spans = await collector.named(
        trace_id,
        ["ingress", SEND, "publish intake", "dispatch", "publish frame", "callback"]
        + ["deliver email", "send smtp", "deliver email", "send sendgrid"]
        + 3 * ["deliver webhook", "send webhook"],
    )

    # Who follows from whom.
    gateway, served, published = one(spans, "ingress"), one(spans, SEND), one(spans, "publish intake")
    dispatched = one(spans, "dispatch")
    first, second = (span for span in spans if span.name == "deliver email")
    steps = [gateway.parent, served.parent, published.parent, dispatched.parent]
    assert steps == [caller, gateway.span_id, served.span_id, published.span_id]
    behind = [span for span in spans if span.parent == dispatched.span_id]
    assert {span.name for span in behind} == {"publish frame", "deliver email", "deliver webhook", "callback"}
    for attempt, provider in ((first, "smtp"), (second, "sendgrid")):
        names = {span.name for span in spans if span.parent == attempt.span_id}
        assert names == {"prepare", "claim", f"send {provider}", "record"}
    assert {span.service for span in spans} == {
        "gateway", "ingest-api", "ingest-dispatch", "email", "ingest-record", "ingest-webhook",
    }  # fmt: skip
    # What tells them apart.
    common = {"crown.notification_id": notification_id, "crown.kind": "comment"}
    with_lane = {"dispatch", "deliver email", "callback", "publish frame"}
    for span in spans:
        if span.name in with_lane | {"send smtp", "send sendgrid"}:
            assert common.items() <= span.attributes.items(), span
        if span.name in with_lane | {"publish intake"}:
            assert span.attributes["crown.lane"] == "normal", span
        assert span.begin_ns <= span.end_ns
    failed, handed = under(spans, first, "send smtp"), under(spans, second, "send sendgrid")
    assert failed.attributes["crown.outcome"] == "Retry"
    assert failed.attributes["crown.attempt"] == 1
    assert failed.attributes["crown.reason"] == "RCPT_451"
    assert failed.failed
    assert not handed.failed
    assert first.attributes["crown.outcome"] == "RETRYING"
    assert (second.attributes["crown.outcome"], second.attributes["crown.attempt"]) == (
        "DELIVERED_TO_PROVIDER",
        2,
    )
    callback = one(spans, "callback")
    assert callback.attributes["crown.outcome"] == "BOUNCED"
    assert callback.attributes["crown.provider"] == "sendgrid"
    # The call that brought it was not sampled, so that there is nothing to link to.
    assert callback.links == ()
    # Nobody is told who it is for, what it says, or with which words they called.
    told = repr(spans)
    assert [
        word for word in (person.user_id, person.email, person.phone, "Fischreiher", "eyJ") if word in told
    ] == []

    await asyncio.to_thread(explain.main, stack, notification_id, "", False)
    assert capsys.readouterr().out.splitlines()[-1] == f"Trace {trace_id}"


async def test_what_a_caller_does_not_sample_leaves_no_span(
    feed: Caller, people: People, collector: Collector
) -> None:
    person = await people.new()
    unsampled, _, headers = begun(sampled=False)
    body = {"user_id": person.user_id, "type": "push", "data": data()}
    quiet = str((await feed.try_send(body, headers=headers)).ok["notification_id"])
    alone = await feed.send("push", user_id=person.user_id, data=data())
    assert [(await feed.settled(found))["trace_id"] for found in (quiet, alone)] == ["", ""]
    # What is sent now is told of; what was sent before would have been by then.
    sampled, _, headers = begun()
    await feed.try_send(body, headers=headers)
    await collector.named(sampled, ["deliver push"])
    assert collector.of(unsampled) == []
    assert [span for span in collector.spans if span.attributes.get("crown.notification_id") == alone] == []


async def test_a_campaign_is_followed_in_a_few(feed: Caller, collector: Collector) -> None:
    group = f"/api/v1/groups/g{secrets.token_hex(6)}"
    await feed.put(group, {})
    members = [f"heron-{number}-{secrets.token_hex(4)}" for number in range(CAMPAIGN)]
    for at in range(0, CAMPAIGN, 1_000):
        await feed.post(f"{group}/members", {"user_ids": members[at : at + 1_000]})
    trace_id, _, headers = begun()
    body = {"group_ids": [group.rpartition("/")[2]], "type": "real_time", "data": data()}
    sent = str((await feed.try_send(body, headers=headers)).ok["notification_id"])
    await feed.settled(sent, RETRIED_WITHIN_S)
    # Two pages, and what lists them; of each page ten people.
    names = ["ingress", SEND, "publish intake"] + 4 * ["dispatch"] + 20 * ["publish frame"]
    spans = await collector.named(trace_id, names)
    assert len(spans) == 27
