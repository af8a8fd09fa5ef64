"""What goes wrong tells nothing about people: providers that repeat addresses, and faults of our own. Looked for in
the reports of errors, in what the stores keep, in dead letters, in answers, and in what processes were started
with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import bson
import psutil
import pytest
from pymongo import AsyncMongoClient
from redis import Redis

from stack.control import Stack
from tests.canaries import Canaries
from tests.e2e.arrivals import Ledger, Mailbox
from tests.e2e.people import DEVICE_PREFIX, MAIL_DOMAIN, PHONE_PREFIX, People, Person, data
from tests.e2e.rest import NOTIFICATIONS, Caller, Rest
from tests.e2e.waiting import until
from tests.sentry import Sentry

# Content that stands nowhere in the clear: no other test sends it, nor stores it as a name or a template.
SECRET = "Nachtreiher-4712"
# What we break rows with ourselves: the files of the store may have it.
BROKEN = "kranich@crane.example"
PARTS = (MAIL_DOMAIN, PHONE_PREFIX, DEVICE_PREFIX, SECRET, BROKEN)
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


def own(stack: Stack, name: str) -> str:
    """A setting of who operates the suite."""
    return Path(stack.environment("operator")[f"{name}_FILE"]).read_text()


@pytest.fixture(scope="module")
async def db(stack: Stack) -> AsyncIterator[Any]:
    async with AsyncMongoClient[dict[str, Any]](own(stack, "DATABASE_URL")) as client:
        yield client.get_default_database()


class Provoked:
    """What was provoked: the person whom it was about, and every answer to a caller."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.answers: list[bytes] = []

    @property
    def canaries(self) -> Canaries:
        return Canaries(PARTS, [self.person.email, self.person.phone, self.person.device_token])


def repeating(person: Person) -> dict[str, dict[str, Any]]:
    """Providers that answer with what they were given, wherever there is room for it."""
    token, phone = person.device_token, person.phone
    refusal = {"status": token, "message": f"no {token}, no {SECRET}"}
    fcm = {"error": {**refusal, "details": [{"@type": FCM_ERROR, "errorCode": token}]}}
    twilio = {"code": 21211, "status": 400, "message": f"The 'To' number {phone} is not valid: {SECRET}"}
    return {
        "fcm": {"status": 400, "body": fcm, "headers": {"X-Said": token}},
        "twilio": {"status": 400, "body": {**twilio, "more_info": phone}},
    }


async def refuse(provoked: Provoked, feed: Caller, ledger: Ledger, mailbox: Mailbox) -> None:
    """Each channel is refused once, for a notification and for a direct send."""
    person = provoked.person
    said = repeating(person)
    said_by_mail = f"550 5.7.1 <{person.email}> does not want {SECRET}"
    content = {"data": data(message=SECRET)}
    for _ in range(2):
        await mailbox.script("RCPT", person.email, reply=said_by_mail)
    async with (
        ledger.scripted("fcm", person.device_token, times=2, **said["fcm"]),
        ledger.scripted("twilio", person.phone, times=2, **said["twilio"]),
    ):
        for channel in ("email", "push", "sms"):
            sent = await feed.send(channel, user_id=person.user_id, **content)
            assert (await feed.outcome(sent, 30))["state"] == "FAILED"
            for path in ("", "/timeline"):
                provoked.answers.append((await feed.get(f"{NOTIFICATIONS}/{sent}{path}")).body)
        for channel, to in (
            ("email", {"to": person.email}),
            ("push", {"token": person.device_token}),
            ("sms", {"to": person.phone}),
        ):
            answer = await feed.post(f"/api/v1/{channel}:send", {**to, **content})
            assert answer.status == 400
            provoked.answers.append(answer.body)


async def take_oddly(provoked: Provoked, feed: Caller, ledger: Ledger) -> None:
    """Twilio takes a text, and gives it an id that has the number in it."""
    phone = provoked.person.phone
    async with ledger.scripted("twilio", phone, status=201, body={"sid": f"SM{phone}", "code": None}):
        sent = await feed.send("sms", user_id=provoked.person.user_id, data=data(message=SECRET))
        assert (await feed.outcome(sent, 30))["state"] == "DELIVERED_TO_PROVIDER"
    provoked.answers.append((await feed.get(f"{NOTIFICATIONS}/{sent}/timeline")).body)


@asynccontextmanager
async def broken(collection: Any, row_id: str, field: str, value: object) -> AsyncIterator[None]:
    """A row that no code of ours has written, for a while."""
    before = await collection.find_one({"_id": row_id}, {field: 1})
    changed = await collection.update_one({"_id": row_id}, {"$set": {field: value}})
    assert changed.matched_count == 1
    yield
    for step in field.split("."):
        before = before[step]
    await collection.update_one({"_id": row_id}, {"$set": {field: before}})


async def fail_ourselves(provoked: Provoked, feed: Caller, db: Any, sentry: Sentry) -> None:
    """The API and a worker meet rows that they cannot work with, whose exceptions have an address in them."""
    person = provoked.person
    sent = await feed.send("in_app", user_id=person.user_id, data=data(message=SECRET))
    await feed.settled(sent)
    row = f"{sent}/{person.user_id}"
    async with broken(db.ledger, row, "deliveries.in_app.state", BROKEN):
        answer = await feed.get(f"{NOTIFICATIONS}/{sent}", faults=frozenset({500}))
        assert (answer.status, answer.problem.reason) == (500, "INTERNAL")
        provoked.answers.append(answer.body)
    async with broken(db.contacts, person.user_id, "email", [BROKEN]):
        mailed = await feed.send("email", user_id=person.user_id, data=data(message=SECRET))
        await until(lambda: reported(sentry), lambda found: {"rpc_failed", "delivery_failed"} <= found, 30)
    await feed.settled(mailed, 60)


async def reported(sentry: Sentry) -> set[str]:
    return {event["tags"]["event"] for event in sentry.events()}


@pytest.fixture(scope="module")
async def provoked(
    feed: Caller, people: People, ledger: Ledger, mailbox: Mailbox, db: Any, sentry: Sentry
) -> Provoked:
    found = Provoked(await people.new())
    await refuse(found, feed, ledger, mailbox)
    await take_oddly(found, feed, ledger)
    await fail_ourselves(found, feed, db, sentry)
    return found


def test_no_report_of_an_error_tells(provoked: Provoked, sentry: Sentry) -> None:
    """Of all tests that ran before, too."""
    events = sentry.events()
    assert {event["server_name"] for event in events} >= {"ingest-api", "email"}
    told = [provoked.canaries.within(body) for _, _, body in sentry.taken]
    assert [found for found in told if found] == []


def test_no_answer_tells(provoked: Provoked) -> None:
    assert len(provoked.answers) == 11
    found = [(provoked.canaries.within(body), body[:300]) for body in provoked.answers]
    # A sender reads its own content; nothing else here is one.
    assert [one for one in found if one[0]] == []


async def test_no_dead_letter_tells(provoked: Provoked, rest: Rest) -> None:
    path = f"/api/v1/dead-letters?filter.user_id={provoked.person.user_id}"
    answer = await rest.operator.get(path)
    assert {one["channel"] for one in answer.ok["dead_letters"]} == {"EMAIL", "PUSH", "SMS"}
    assert provoked.canaries.within(answer.body) == set()
    for letter in answer.ok["dead_letters"]:
        whole = await rest.operator.get(f"/api/v1/dead-letters/{letter['dead_letter_id']}")
        # What was to be sent an operator may read, one letter at a time; nothing else in it says so.
        assert whole.ok.pop("data")["message"] == SECRET
        assert provoked.canaries.within(json.dumps({**whole.ok, "data": None})) == set()


async def test_no_document_tells(provoked: Provoked, db: Any) -> None:
    """Documents, and not only files: those are compressed."""
    told: list[tuple[str, Any, set[str]]] = []
    seen: set[str] = set()
    for name in await db.list_collection_names():
        async for row in db[name].find({}):
            seen.add(name)
            if found := provoked.canaries.within(bson.encode(row)):
                told.append((name, row["_id"], found))
    assert {"ledger", "notifications", "timeline", "dead_letters", "contacts", "devices", "direct"} <= seen
    assert told == []


def values(valkey: Any, key: bytes) -> Iterator[bytes]:
    """All that is kept under a key, itself too."""
    yield key
    match valkey.type(key):
        case b"string":
            yield valkey.get(key) or b""
        case b"hash":
            yield b" ".join(part for pair in valkey.hgetall(key).items() for part in pair)
        case b"set":
            yield b" ".join(valkey.smembers(key))
        case b"zset":
            yield b" ".join(valkey.zrange(key, 0, -1))
        case b"list":
            yield b" ".join(valkey.lrange(key, 0, -1))
        case b"none":
            # It went in this moment.
            return
        case other:
            raise AssertionError(f"nobody looks into a {other!r}")


def test_nothing_in_valkey_tells(provoked: Provoked, stack: Stack) -> None:
    with Redis.from_url(own(stack, "REDIS_HOST")) as valkey:
        keys = list(valkey.scan_iter(count=1_000))
        assert keys
        told = [
            (key, found)
            for key in keys
            for value in values(valkey, key)
            if (found := provoked.canaries.within(value))
        ]
    assert told == []


def processes(stack: Stack) -> list[bytes]:
    """What every process of the suite was started with, and those that they started."""
    ours = [psutil.Process(one.pid) for one in stack.status() if one.pid]
    pids = {one.pid for process in ours for one in (process, *process.children(recursive=True))}
    found = []
    for pid in pids:
        with suppress(OSError):
            found.append(Path(f"/proc/{pid}/environ").read_bytes())
    return found


def test_no_process_was_started_with_a_secret_or_anything_about_people(
    provoked: Provoked, stack: Stack
) -> None:
    """In the stack secrets come from files alone: not even a variable holds one."""
    kept = [path.read_text(errors="replace") for path in stack.layout.secrets.rglob("*") if path.is_file()]
    secret = {line.strip() for text in kept for line in text.splitlines() if len(line.strip()) >= 16}
    started = processes(stack)
    assert len(started) >= len([one for one in stack.status() if one.pid])
    everything = b"\n".join(started)
    assert b"CROWN_DATA_KEY_FILE=" in everything
    assert [one[:4] for one in secret if one.encode() in everything] == []
    assert provoked.canaries.within(everything) == set()
