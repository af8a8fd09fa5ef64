"""The same key is the same notification, whoever retries it, however often, and however it is told."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from tests.e2e.arrivals import Ledger
from tests.e2e.people import People, Person, data
from tests.e2e.rest import BULK, Caller, Rest

AT_ONCE = 50


def new_key() -> str:
    return f"heron-{secrets.token_hex(8)}"


def body(person: Person, type: str = "push", **more: object) -> dict[str, object]:
    return {"type": type, "user_id": person.user_id, "data": data(), **more}


async def sent_with_header(caller: Caller, content: object, key: str) -> str:
    answer = (await caller.try_send(content, headers={"Idempotency-Key": key})).ok
    return str(answer["notification_id"])


async def sent_with_field(caller: Caller, content: dict[str, object], key: str) -> str:
    return str((await caller.try_send({**content, "idempotency_key": key})).ok["notification_id"])


async def test_header_and_field_are_one_key(feed: Caller, person: Person, ledger: Ledger) -> None:
    key = new_key()
    ids = {
        await sent_with_header(feed, body(person), key),
        await sent_with_field(feed, body(person), key),
        await sent_with_header(feed, body(person), key),
    }
    assert len(ids) == 1
    (sent,) = ids
    await feed.settled(sent)
    # Another one, which is dispatched after the repetitions were.
    await feed.settled(await feed.send("push", user_id=person.user_id, data=data()))
    assert len(await ledger.entries(notification_id=sent)) == 1
    assert (await person.caller.history(person.user_id))["total"] == 2


async def test_the_field_wins(feed: Caller, person: Person) -> None:
    field, header = new_key(), new_key()
    content = body(person, idempotency_key=field)
    assert await sent_with_header(feed, content, header) == await sent_with_field(feed, body(person), field)


async def test_without_a_key_each_is_another(feed: Caller, person: Person) -> None:
    sent = {await feed.send("in_app", user_id=person.user_id, data=data()) for _ in range(3)}
    assert len(sent) == 3


async def test_two_services_never_collide(rest: Rest, feed: Caller, person: Person) -> None:
    key = new_key()
    by_ads = await sent_with_header(rest.service("ads"), body(person), key)
    assert by_ads != await sent_with_header(feed, body(person), key)


async def test_another_body_is_refused(feed: Caller, person: Person) -> None:
    key = new_key()
    sent = await sent_with_header(feed, body(person), key)
    answer = await feed.try_send(body(person, kind="comment"), headers={"Idempotency-Key": key})
    problem = answer.problem
    assert (problem.status, problem.code, problem.reason) == (409, 6, "KEY_REUSED")
    assert problem.metadata["notification_id"] == sent
    # The first one stands.
    assert await sent_with_header(feed, body(person), key) == sent


async def test_the_same_written_otherwise_is_the_same(feed: Caller, person: Person) -> None:
    key = new_key()
    plain = await sent_with_header(feed, body(person), key)
    otherwise = {"data": data(), "userId": person.user_id, "type": "PUSH", "priority": None}
    assert await sent_with_header(feed, otherwise, key) == plain


async def test_what_has_a_key_is_found_at_once(feed: Caller, people: People) -> None:
    person = people.stranger()
    for number in range(20):
        key = f"{new_key()}-{number}"
        await feed.look(await sent_with_field(feed, body(person, "in_app"), key))


async def test_many_at_once_are_one(feed: Caller, person: Person, ledger: Ledger) -> None:
    key = new_key()
    ids = await asyncio.gather(*(sent_with_header(feed, body(person), key) for _ in range(AT_ONCE)))
    assert len(set(ids)) == 1
    await feed.settled(ids[0])
    await feed.settled(await feed.send("push", user_id=person.user_id, data=data()))
    assert len(await ledger.entries(notification_id=ids[0])) == 1


async def test_of_many_bodies_at_once_one_stands(feed: Caller, person: Person) -> None:
    key = new_key()
    answers = await asyncio.gather(
        *(
            feed.try_send(body(person, data={"title": f"Heron {n}"}), headers={"Idempotency-Key": key})
            for n in range(10)
        )
    )
    accepted = [answer for answer in answers if answer.status == 200]
    refused = [answer.problem.reason for answer in answers if answer.status != 200]
    assert len(accepted) == 1
    assert refused == ["KEY_REUSED"] * 9


async def test_what_was_refused_takes_no_key(feed: Caller, person: Person) -> None:
    key = new_key()
    bad = body(person, data={"title": "x" * 201})
    assert (await feed.try_send(bad, headers={"Idempotency-Key": key})).status == 400
    assert await sent_with_header(feed, body(person), key)


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * 256, "é", "a\tb"])
async def test_what_is_no_key(feed: Caller, person: Person, key: str) -> None:
    answer = await feed.try_send(body(person), headers={"Idempotency-Key": key.encode().decode("latin-1")})
    assert (answer.status, answer.problem.code) == (400, 3)
    if key:
        field = await feed.try_send(body(person, idempotency_key=key))
        assert field.problem.violations.keys() == {"idempotency_key"}


@pytest.mark.parametrize("key", ["k", "k" * 255, "!~", "a.>*b"])
async def test_what_is_a_key(rest: Rest, person: Person, key: str) -> None:
    sender = rest.service(f"sender-of-{person.user_id}")
    first = await sent_with_header(sender, body(person), key)
    assert await sent_with_field(sender, body(person), key) == first


async def test_the_key_of_a_bulk_is_for_each_item(feed: Caller, people: People) -> None:
    person, key = people.stranger(), new_key()
    content = {"notifications": [body(person, "in_app"), body(person, "in_app", kind="like")]}
    answers = [(await feed.post(BULK, content, headers={"Idempotency-Key": key})).ok for _ in range(2)]
    assert answers[0] == answers[1]
    first, second = (result["notification_id"] for result in answers[0]["results"])
    assert first != second
    # A single send with that key is another call, and so another notification.
    assert await sent_with_header(feed, body(person, "in_app"), key) not in (first, second)


async def test_items_have_keys_of_their_own(feed: Caller, people: People) -> None:
    person, key = people.stranger(), new_key()
    item = body(person, "in_app", idempotency_key=key)
    other = body(person, "in_app", idempotency_key=key, kind="like")
    first, again, reused = (await feed.post(BULK, {"notifications": [item, item, other]})).ok["results"]
    assert first["notification_id"] == again["notification_id"]
    assert reused["error"]["code"] == 6
    # The key means the same notification in a bulk and alone.
    assert await sent_with_field(feed, body(person, "in_app"), key) == first["notification_id"]
