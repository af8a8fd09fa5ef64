"""Devices on a real store: what a registration replaces, who has them, how many."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from crown import ids
from crown.clock import now
from crown.notification.v1.types_pb2 import Channel, DeviceKind, Platform
from crown.people import People
from crown.recipients import DEVICES_MOST, Device, Recipients
from tests.integration.local import Local

MOMENT = now().replace(microsecond=0)


@pytest.fixture
def recipients(local: Local) -> Recipients:
    return Recipients(local.db, People(local.db, local.data_key))


def device(user_id: str, token: str, moment: datetime = MOMENT, **given: Any) -> Device:
    usual = {"kind": DeviceKind.TOKEN, "platform": Platform.ANDROID}
    return Device(
        ids.device(token), user_id, token, create_time=moment, last_seen_time=moment, **{**usual, **given}
    )


BROWSER: dict[str, Any] = {
    "kind": DeviceKind.WEB_PUSH,
    "platform": Platform.WEB,
    "locale": "pt-BR",
    "time_zone": "America/Sao_Paulo",
    "p256dh": "key-of-the-browser",
    "auth": "secret-of-the-browser",
}


async def test_all_of_it_comes_back(local: Local, recipients: Recipients) -> None:
    person, endpoint = local.somebody(), "https://push.example.org/$1"
    wanted = device(person, endpoint, **BROWSER)
    assert await recipients.put_device(wanted) == wanted
    assert await recipients.devices(person) == [wanted]
    (destination,) = (await recipients.destinations(Channel.PUSH, [person]))[person]
    assert destination == wanted.destination
    assert (destination.p256dh, destination.auth) == ("key-of-the-browser", "secret-of-the-browser")


async def test_neither_token_nor_keys_stand_in_the_clear(local: Local, recipients: Recipients) -> None:
    person, endpoint = local.somebody(), "https://push.example.org/hush"
    await recipients.put_device(device(person, endpoint, **BROWSER))
    row = str(await local.db.devices.find_one({"user_id": person}))
    assert not [text for text in (endpoint, "key-of-the-browser", "secret-of-the-browser") if text in row]


async def test_what_is_left_out_is_forgotten(local: Local, recipients: Recipients) -> None:
    person, later = local.somebody(), MOMENT + timedelta(hours=1)
    first = device(person, f"t-{person}", **BROWSER)
    await recipients.put_device(first)
    bare = device(person, f"t-{person}", later)
    # Only since when we know it stays.
    assert await recipients.put_device(bare) == replace(bare, create_time=MOMENT)
    row = await local.db.devices.find_one({"_id": bare.id})
    assert row is not None
    assert not {"locale", "time_zone", "p256dh", "auth"} & set(row)


async def test_the_token_of_somebody_else_changes_hands(local: Local, recipients: Recipients) -> None:
    ann, bob = local.somebody(), local.somebody()
    token = f"shared-{ann}"
    await recipients.put_device(device(ann, token, **BROWSER))
    assert (await recipients.put_device(device(bob, token))).user_id == bob
    assert await recipients.devices(ann) == []
    (kept,) = await recipients.devices(bob)
    # Nothing of what the first had said stays with the second, who cannot even open it.
    assert (kept.token, kept.locale, kept.p256dh) == (token, "", "")
    found = await recipients.destinations(Channel.PUSH, [ann, bob])
    assert {user: [one.address for one in places] for user, places in found.items()} == {bob: [token]}
    # The first cannot take it away.
    await recipients.delete_device(ann, kept.id)
    assert len(await recipients.devices(bob)) == 1


async def test_the_oldest_go(local: Local, recipients: Recipients) -> None:
    person = local.somebody()
    for number in range(DEVICES_MOST + 2):
        await recipients.put_device(device(person, f"t{number}-{person}", MOMENT + timedelta(minutes=number)))
    tokens = [one.token for one in await recipients.devices(person)]
    assert tokens == [f"t{number}-{person}" for number in range(DEVICES_MOST + 1, 1, -1)]
    # One that is registered again is not old.
    await recipients.put_device(device(person, f"t2-{person}", MOMENT + timedelta(hours=1)))
    await recipients.put_device(device(person, f"new-{person}", MOMENT + timedelta(hours=2)))
    tokens = [one.token for one in await recipients.devices(person)]
    assert (tokens[:2], tokens[-1]) == ([f"new-{person}", f"t2-{person}"], f"t4-{person}")


async def test_the_same_registered_many_times_at_once_is_one(local: Local, recipients: Recipients) -> None:
    person = local.somebody()
    one = device(person, f"t-{person}")
    await asyncio.gather(*(recipients.put_device(one) for _ in range(20)))
    assert await recipients.devices(person) == [one]


async def test_one_from_before_there_were_languages(local: Local, recipients: Recipients) -> None:
    person = local.somebody()
    one = device(person, f"t-{person}")
    await recipients.put_device(one)
    await local.db.devices.update_one({"_id": one.id}, {"$unset": {"locale": "", "time_zone": ""}})
    assert await recipients.devices(person) == [one]


async def test_one_that_is_gone_is_forgotten(local: Local, recipients: Recipients) -> None:
    person = local.somebody()
    gone, alive = device(person, f"gone-{person}"), device(person, f"alive-{person}")
    for one in (gone, alive):
        await recipients.put_device(one)
    await recipients.forget_devices([gone.id])
    assert await recipients.devices(person) == [alive]
