"""What lies on the bus and nobody can read: each message of it ends once and for all, as a dead letter or as what
newer code has left; what is good passes by it; no process ends, and no log tells what it said."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client.parser import text_string_to_metric_families

from crown import subjects, vault
from crown.subjects import Consumer
from stack.control import Stack
from stack.secrets import read
from tests import broken
from tests.e2e.people import People, data
from tests.e2e.phoenix import connected
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until
from tests.fault import bus
from tests.trust import bad_messages
from tests.trust.bad_messages import CANARY, Bad, Fate, Subject
from tests.trust.counting import LIMIT_S, Count
from tests.trust.spoiling import Spoiler

pytestmark = pytest.mark.usefixtures("steady")
SEED = 20_261_132
CHANNELS = ("push", "email", "sms")
RECORDER = subjects.recorder()
# What is parked comes again after 2, 4, 8 … s, and is noticed to be gone then.
GONE_S = 60.0
# Headers of fewer bytes end nats-server 2.15.1 itself, on a stream that is published again: docs/security.md.
REPUBLISHED_LEAST_BYTES = 2
# What may come of an exception that nobody has foreseen.
BUGS = ("dispatch_failed", "delivery_failed", "live_event_failed", "broadcast_failed", "disconnect_failed")


@dataclass
class Bench:
    """The bus as one who may do everything sees it."""

    stack: Stack
    rest: Rest
    client: Client
    data_key: vault.Key

    async def put(self, one: Bad) -> tuple[str, int]:
        """Publishes it. Answers stream and sequence."""
        inbox = self.client.new_inbox()
        answered: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

        async def hear(message: Msg) -> None:
            answered.set_result(message)

        waiting = await self.client.subscribe(inbox, cb=hear, max_msgs=1)
        await broken.publish(self.client, one.subject.name.encode(), one.head, one.body, inbox.encode())
        async with asyncio.timeout(LIMIT_S):
            ack = json.loads((await answered).data)
        await waiting.unsubscribe()
        assert "error" not in ack, (one.how, ack)
        return ack["stream"], ack["seq"]

    async def left(self, consumer: Consumer) -> tuple[int, int]:
        """(not handed out yet, handed out and not settled)."""
        call = f"$JS.API.CONSUMER.INFO.{consumer.stream}.{consumer.name}"
        found = json.loads((await self.client.request(call, b"", timeout=LIMIT_S)).data)
        return found["num_pending"], found["num_ack_pending"]

    async def remove(self, stream: str, sequence: int) -> None:
        """Takes a message out of its stream; one that is gone is gone."""
        body = json.dumps({"seq": sequence, "no_erase": True}).encode()
        await self.client.request(f"$JS.API.STREAM.MSG.DELETE.{stream}", body, timeout=LIMIT_S)

    async def letters(self) -> set[str]:
        """The ids of all dead letters that nobody could read."""
        found: set[str] = set()
        cursor = ""
        while True:
            path = f"/api/v1/dead-letters?filter.reason=UNDECODABLE&limit=500&cursor={cursor}"
            page = (await self.rest.operator.get(path)).ok
            found |= {one["dead_letter_id"] for one in page.get("dead_letters", [])}
            if not (cursor := page.get("next_cursor", "")):
                return found

    async def problems(self, *events: str) -> Counter[tuple[str, str]]:
        """How often each process has had such a line for its log, also where it was kept back."""
        found: Counter[tuple[str, str]] = Counter()
        for one in self.stack.status():
            if one.name in {"ingest-record", "ingest-dispatch", "realtime", "email", "push", "sms"}:
                port = self.stack.settings.ports.metrics(one.name)
                async with self.rest.http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                    text = await answer.text()
                for family in text_string_to_metric_families(text):
                    for sample in family.samples:
                        if sample.name == "crown_problems_total" and sample.labels["event"] in events:
                            found[one.name, sample.labels["event"]] += int(sample.value)
        return found


@pytest.fixture
async def bench(stack: Stack, rest: Rest) -> AsyncIterator[Bench]:
    """Connected as the operator."""
    environment, client = stack.environment("operator"), Client()
    await client.connect(
        environment["NATS_URL"],
        user=environment["NATS_USER"],
        password=bus.secret(environment, "NATS_PASSWORD"),
    )
    yield Bench(stack, rest, client, vault.data_key(read(stack.secrets.data_key())))
    await client.close()


def told(stack: Stack) -> list[tuple[str, str]]:
    """The lines of logs that tell something of what was sent."""
    raw = CANARY.encode()
    words = {raw, raw.hex().encode(), *(base64.b64encode(b" " * n + raw)[4:-4] for n in range(3))}
    return [
        (path.name, line[:300].decode(errors="replace"))
        for path in sorted(stack.layout.logs.iterdir())
        for line in path.read_bytes().splitlines()
        if any(word in line for word in words)
    ]


async def all_good(people: People, feed: Caller, rest: Rest) -> None:
    """What is good arrives, by every channel and lane, is recorded, and is seen on a socket."""
    person = await people.new()
    assert person.caller.token
    async with connected(rest, person.caller.token) as socket:
        await socket.join(f"user:{person.user_id}")
        for channel in CHANNELS:
            for lane in subjects.LANES.values():
                given = {"user_id": person.user_id, "priority": lane.upper(), "data": data()}
                sent = await feed.send(channel, **given)
                assert (await feed.outcome(sent, 30))["state"] == "DELIVERED_TO_PROVIDER", (channel, lane)
        sent = await feed.send("real_time", user_id=person.user_id, data=data())
        assert (await socket.pushed("notification"))["notification_id"] == sent


async def test_what_nobody_can_read_ends_at_once_and_what_looks_newer_waits(
    bench: Bench, people: People, feed: Caller, rest: Rest, number: int, counted: Callable[[Count], None]
) -> None:
    """Of each kind on each subject at least one; as many dead letters as were sent, no message a second time."""
    spoiler, count = Spoiler(SEED), Count("messages on the bus")
    places = bad_messages.read_subjects(bench.data_key)
    before = await bench.problems("event_undecodable", *BUGS)
    sent: dict[tuple[str, int], Bad] = {}
    size = bad_messages.HUGE_BYTES
    while len(sent) < number:
        for place in places:
            for one in (*bad_messages.unreadable(place, spoiler, size), *bad_messages.looks_newer(place)):
                sent[await bench.put(one)] = one
        size = bad_messages.LARGE_BYTES
    count.tried = len(sent)
    lost = {at: one for at, one in sent.items() if one.fate is Fate.UNREADABLE}
    silent = Counter(one.subject.consumer for one in lost.values())[RECORDER]
    wanted = {f"{stream}:{seq}" for (stream, seq), one in lost.items() if one.subject.consumer != RECORDER}
    newer = Counter(one.subject.consumer for one in sent.values() if one.fate is Fate.NEWER)
    consumers = {place.consumer for place in places}

    async def unaccounted() -> object:
        missing = wanted - await bench.letters()
        return missing or {
            consumer: (pending, held)
            for consumer in consumers
            for pending, held in [await bench.left(consumer)]
            if (pending, held) != (0, newer[consumer])
        }

    await until(unaccounted, lambda found: not found, 120)
    # Nothing of what waits was given up.
    assert not {f"{stream}:{seq}" for (stream, seq), one in sent.items() if one.fate is Fate.NEWER} & (
        await bench.letters()
    )
    after = await bench.problems("event_undecodable", *BUGS)
    assert after - before == Counter({("ingest-record", "event_undecodable"): silent})
    await all_good(people, feed, rest)
    await gone(bench, (at for at, one in sent.items() if one.fate is Fate.NEWER), consumers)
    assert told(bench.stack) == []
    counted(count)


async def gone(bench: Bench, places: Iterable[tuple[str, int]], consumers: Collection[Consumer]) -> None:
    """Takes these out of their streams; then nothing is left, of anything that was sent."""
    for at in places:
        await bench.remove(*at)

    async def left() -> dict[Consumer, tuple[int, int]]:
        found = {consumer: await bench.left(consumer) for consumer in consumers}
        return {consumer: what for consumer, what in found.items() if what != (0, 0)}

    await until(left, lambda found: not found, GONE_S)


async def test_what_may_mean_anything_holds_nobody_up(
    bench: Bench, people: People, feed: Caller, rest: Rest, number: int, counted: Callable[[Count], None]
) -> None:
    spoiler, count = Spoiler(SEED + 1), Count("altered messages on the bus")
    places = bad_messages.read_subjects(bench.data_key)
    before = await bench.problems(*BUGS)
    sent: list[tuple[str, int]] = []
    while len(sent) < number:
        for place in places:
            for one in bad_messages.by_chance(place, places, spoiler):
                sent.append(await bench.put(one))
    count.tried = len(sent)
    await all_good(people, feed, rest)
    consumers = {place.consumer for place in places}

    async def waiting() -> int:
        return sum([(await bench.left(consumer))[0] for consumer in consumers])

    await until(waiting, lambda found: not found, 60)
    # What looks newer by chance is parked.
    await gone(bench, sent, consumers)
    assert await bench.problems(*BUGS) == before
    assert told(bench.stack) == []
    counted(count)


async def test_sockets_hear_what_is_good_behind_what_nobody_can_read(
    bench: Bench, people: People, feed: Caller, rest: Rest, number: int, counted: Callable[[Count], None]
) -> None:
    spoiler, count = Spoiler(SEED + 2), Count("live events on the bus")
    person = await people.new()
    topic = subjects.user_topic(person.user_id)
    # No consumer reads these: every node hears them.
    source = Subject(subjects.live_source(topic), RECORDER, lambda: bad_messages.live(bench.data_key))
    revoked = Subject(subjects.revoked(CANARY, ""), RECORDER, bad_messages.disconnect)
    heard = [subjects.live(topic), subjects.EVERYONE, subjects.VITALS_TOLD, subjects.VITALS_ASKED]
    before = await bench.problems("live_event_unreadable", *BUGS)
    assert person.caller.token
    async with connected(rest, person.caller.token) as socket:
        await socket.join(topic)
        unreadable = 0
        while count.tried < number or not unreadable:
            for one in bad_messages.unreadable(source, spoiler, bad_messages.LARGE_BYTES):
                if len(one.head) >= REPUBLISHED_LEAST_BYTES:
                    await bench.put(one)
                    unreadable += 1
                    count.tried += 1
            for one in (
                *bad_messages.unreadable(revoked, spoiler, bad_messages.LARGE_BYTES),
                *bad_messages.by_chance(revoked, [source], spoiler),
                *bad_messages.by_chance(source, [revoked], spoiler),
            ):
                await bench.put(one)
                count.tried += 1
        sent = await feed.send("real_time", user_id=person.user_id, data=data())
        assert (await socket.pushed("notification"))["notification_id"] == sent
        found = await bench.problems("live_event_unreadable", *BUGS) - before
        assert found["realtime", "live_event_unreadable"] >= unreadable
        for place in heard:
            for one in bad_messages.unreadable(source, spoiler, bad_messages.LARGE_BYTES):
                await broken.publish(bench.client, place.encode(), one.head, one.body)
                count.tried += 1
    await all_good(people, feed, rest)
    assert {event for _, event in (await bench.problems(*BUGS) - before)} == set()
    assert told(bench.stack) == []
    counted(count)
