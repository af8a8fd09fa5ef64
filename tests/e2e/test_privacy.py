"""Logs, metrics, traces and the files of the stores tell nothing about people: every address, text and token of the
whole run is looked for. No process is started with a secret among its arguments."""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from stack.control import Stack
from stack.services import ROLES
from tests.canaries import Canaries
from tests.collector import Collector
from tests.e2e.forgery import signed
from tests.e2e.people import DEVICE_PREFIX, MAIL_DOMAIN, PHONE_PREFIX, TITLE, WORD, People, data
from tests.e2e.phoenix import connected
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until

# A token of ours begins with {"alg": in base64.
CANARIES = {
    "an e-mail address": MAIL_DOMAIN,
    "a phone number": PHONE_PREFIX,
    "a device": DEVICE_PREFIX,
    "a text": WORD,
    "a token": "eyJhbGci",
    "a token for the socket": urlsafe_b64encode(b"eyJhbGci").decode()[:10],
}


# Content that no other test sends, nor stores as a template or a name.
SECRET = "Nachtreiher-4711"
TRACE_ID = secrets.token_hex(16)


@pytest.fixture(scope="module")
async def tried(rest: Rest, feed: Caller, people: People, stack: Stack) -> None:
    """Addresses, texts and tokens were brought to every place that might write them down: good and bad
    requests, every channel, sockets, tokens that do not verify. What other tests did comes on top."""
    person = await people.new()
    channels = ["real_time", "in_app", "push", "email", "sms"]
    assert person.caller.token
    async with connected(rest, person.caller.token) as socket:
        topic = f"user:{person.user_id}"
        await socket.join(topic)
        await socket.ask(topic, WORD, {"text": TITLE})
        await socket.ask(WORD, "phx_join", {"text": TITLE})
        sent = await feed.send(channels=channels, user_id=person.user_id, data=data(), idempotency_key=WORD)
        await socket.pushed("notification")
        await socket.stream.send_str(f"[{TITLE}")
    await feed.settled(sent)
    traced = {"traceparent": f"00-{TRACE_ID}-{secrets.token_hex(8)}-01"}
    secret = {"channels": channels, "user_id": person.user_id, "data": data(message=SECRET)}
    await feed.settled((await feed.try_send(secret, headers=traced)).ok["notification_id"])
    gone = await people.new("unregistered-heron-")
    await feed.settled(await feed.send("push", user_id=gone.user_id, data=data()))
    for body in (
        {"type": WORD},
        {"data": {"title": [TITLE]}, "user_id": person.email},
        b"{" + TITLE.encode(),
        {"type": "email", "user_id": "heron", "address": {"email": f"{WORD}@@{MAIL_DOMAIN}"}, "data": data()},
        {"type": "push", "user_id": "heron", "data": data(action_url=f"https://{MAIL_DOMAIN}/{WORD}")},
    ):
        await feed.try_send(body)
    contact = {"phone": f"{PHONE_PREFIX}x", "email": f"{WORD}@{MAIL_DOMAIN},{person.email}"}
    await person.caller.put(f"/api/v1/users/{person.user_id}/contact", contact)
    await rest.holder(signed(stack, sub=None)).try_send({"data": data()})
    await rest.nobody.get(f"/api/v1/notifications/{sent}?token={person.caller.token}")
    for name, to in (
        ("email", {"to": person.email}),
        ("push", {"token": "unregistered-heron"}),
        ("sms", {"to": "+1"}),
    ):
        await feed.post(f"/api/v1/{name}:send", {**to, "data": data()})


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize("what", CANARIES)
def test_no_log_tells(stack: Stack, what: str) -> None:
    paths = sorted(stack.layout.logs.iterdir())
    assert {path.stem for path in paths} >= {one.name for one in stack.status()}
    canary = Canaries([CANARIES[what]])
    told = [
        (path.name, line[:300])
        for path in paths
        for line in path.read_bytes().splitlines()
        if canary.within(line)
    ]
    assert told == []


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize("name", [role.name for role in ROLES])
async def test_no_metric_tells(rest: Rest, stack: Stack, name: str) -> None:
    async with rest.http.get(f"http://127.0.0.1:{stack.settings.ports.metrics(name)}/metrics") as answer:
        text = await answer.text()
    assert Canaries(CANARIES.values()).within(text) == set()


@pytest.mark.usefixtures("tried")
async def test_no_trace_tells(collector: Collector) -> None:
    await collector.named(TRACE_ID, ["crown.notification.v1.IngestService/SendNotification"])
    told = repr(collector.spans)
    assert TRACE_ID in told
    assert Canaries((*CANARIES.values(), SECRET)).within(told) == set()


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize("server", ["mongod", "nats"])
def test_no_file_of_a_store_tells(stack: Stack, server: str) -> None:
    """What stands there is sealed, before anybody is erased. Valkey of the stack keeps no files."""
    canaries = Canaries([MAIL_DOMAIN, PHONE_PREFIX, DEVICE_PREFIX, SECRET])
    files = [path for path in stack.layout.data(server).rglob("*") if path.is_file()]
    assert files
    told = {path.name: found for path in files if (found := canaries.within(path.read_bytes()))}
    assert told == {}


def test_no_process_has_a_secret_among_its_arguments(stack: Stack) -> None:
    kept = [path.read_text(errors="replace") for path in stack.layout.secrets.rglob("*") if path.is_file()]
    secret = {line.strip() for text in kept for line in text.splitlines() if len(line.strip()) >= 16}
    assert secret
    pids = [one.pid for one in stack.status() if one.pid]
    assert pids
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    arguments = b"\n".join(lines).decode(errors="replace")
    assert [one[:4] for one in secret if one in arguments] == []


async def test_a_person_exports_and_erases_themselves(feed: Caller, people: People) -> None:
    """By the rights that each process has at the stores."""
    person = await people.new()
    await feed.settled(await feed.send("in_app", user_id=person.user_id, data=data()))
    path = f"/api/v1/users/{person.user_id}"
    before = (await person.caller.get(f"{path}:export")).ok
    assert (before["contact"]["email"], len(before["notifications"])) == (person.email, 1)
    # Of an earlier second than the erasure, as it is in real life.
    issued = int(time.time()) - 5
    token = signed(people.rest.stack, use="user", sub=person.user_id, iat=issued)
    former = people.rest.holder(token)
    assert (await former.request("DELETE", path)).status == 200
    # Word of it takes a moment from service to service.
    await until(lambda: former.get(f"{path}:export"), lambda answer: answer.status == 401)
    after = (await people.rest.user(person.user_id).get(f"{path}:export")).ok
    assert (after["contact"]["email"], after["devices"], after["schedules"]) == ("", [], [])
    assert [one["data"] for one in after["notifications"] if one["data"]] == []


@pytest.mark.usefixtures("tried")
def test_our_own_lines_are_json(stack: Stack) -> None:
    for name in [*(role.name for role in ROLES), "gateway"]:
        lines = stack.layout.log(name).read_text().splitlines()
        assert lines, name
        for line in lines:
            assert json.loads(line)["event"], (name, line)
