"""What people are told and where they are reached stands nowhere in the clear: not on the bus, not in the store,
not in the cache. Read unpacked, since compression would hide it from a search."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient

from crown import subjects
from crown.clock import now
from crown.notification.v1.types_pb2 import Channel, DeviceKind, Platform
from crown.outcome import Delivered, Discard, Retry
from crown.people import People
from crown.recipients import Contact, Device, Recipients
from crown.vault import VaultError
from tests.integration.api import Api
from tests.integration.crown.scripted import Scripted, delivering
from tests.integration.local import Local
from tests.integration.rig import Rig, until

CANARY = "canary7q"
DATA = {
    "title": f"title {CANARY}",
    "message": f"message {CANARY} " * 50,
    "action_url": f"/{CANARY}",
    "extra": {"k": CANARY},
}
ADDRESS = {"email": f"{CANARY}@inline.example", "phone": "+14155557777", "device_tokens": [f"token-{CANARY}"]}
SECRETS = (CANARY.encode(), b"4155557777", b"4155558888")


@pytest.fixture(scope="module")
async def told(rig: Rig, local: Local) -> AsyncIterator[list[str]]:
    """Notifications that have been everywhere: accepted, delivered, retried, given up, shown live."""
    recipients = Recipients(local.db, People(local.db, local.data_key))
    await recipients.replace_contact(
        "u1", Contact(f"{CANARY}@stored.example", "+14155558888", "en", "Etc/UTC")
    )
    device = Device("d1", "u1", f"stored-{CANARY}", DeviceKind.TOKEN, Platform.WEB, now(), now())
    await recipients.put_device(device)
    email, push, sms = Scripted(), Scripted(), Scripted()
    email.steps["u1"] = [Retry("E1", 600.0)]
    sms.steps["u1"] = [Discard("NO", "1")]
    push.steps["u1"] = [Delivered("m")]
    async with rig.running("api") as service, local.dispatching():
        api = Api(rig, service)
        async with (
            delivering(local, Channel.EMAIL, email),
            delivering(local, Channel.PUSH, push),
            delivering(local, Channel.SMS, sms),
        ):
            channels = ["EMAIL", "PUSH", "SMS", "REAL_TIME", "IN_APP"]
            stored = await api.send(
                user_id="u1", type=None, channels=channels, data=DATA, key=f"k-{len(CANARY)}"
            )
            inline = await api.send(user_id="u2", type="EMAIL", data=DATA, address=ADDRESS)
            await local.becomes(stored, "sms", "FAILED")
            await local.becomes(stored, "email", "RETRYING")
            await local.becomes(inline, "email", "DELIVERED_TO_PROVIDER")
            await until(lambda: local.messages("RETRY"))
        yield [stored, inline]
    # The providers got it in the clear, so there was something to be found.
    assert CANARY in email.sent_to("u1")[0].destinations[0].address
    assert email.sent_to("u2")[0].destinations[0].address == ADDRESS["email"]
    assert push.sent_to("u1")[0].destinations[0].address == f"stored-{CANARY}"
    assert sms.sent_to("u1")[0].destinations[0].address == "+14155558888"
    assert {attempt.data.title for attempt in (*email.sent, *push.sent, *sms.sent)} == {f"title {CANARY}"}


def found_in(raw: bytes) -> list[bytes]:
    return [secret for secret in SECRETS if secret in raw]


def raw_of(document: Any) -> bytes:
    """A document as it is stored."""
    found: bytes = document.raw
    return found


async def test_nats_holds_nothing_in_the_clear(rig: Rig, local: Local, told: list[str]) -> None:
    folder = rig.stack.layout.data("nats")
    # A file that is gone by the time it is read was one that NATS was about to rename.
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp"]
    blocks = b"".join(path.read_bytes() for path in files if path.suffix == ".blk")
    # These are the files, and they can be searched: ids stand in them.
    assert told[0].encode() in blocks
    assert subjects.intake("normal").encode() in blocks
    assert {path.name: found_in(path.read_bytes()) for path in files if found_in(path.read_bytes())} == {}


async def test_the_store_holds_nothing_in_the_clear(rig: Rig, local: Local, told: list[str]) -> None:
    raw: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
    names = await rig.db.list_collection_names()
    assert {"notifications", "ledger", "people", "contacts", "devices", "claims"} <= set(names)
    for name in names:
        async for document in rig.db.get_collection(name, codec_options=raw).find({}):
            assert found_in(raw_of(document)) == [], name


async def test_nor_does_its_log_of_changes(rig: Rig, local: Local, told: list[str]) -> None:
    raw: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
    async with AsyncMongoClient[dict[str, Any]](rig.environment["DATABASE_URL"]) as client:
        changes = client.get_database("local").get_collection("oplog.rs", codec_options=raw)
        seen = 0
        async for document in changes.find({"ns": {"$regex": f"^{rig.database}\\."}}):
            seen += told[0].encode() in raw_of(document)
            assert found_in(raw_of(document)) == []
        assert seen


async def test_the_cache_holds_no_content(rig: Rig, local: Local, told: list[str]) -> None:
    keys = [key async for key in rig.redis.scan_iter()]
    assert keys
    for key in keys:
        assert found_in(key + (await rig.redis.dump(key) or b"")) == []


def test_the_logs_say_nothing(rig: Rig, told: list[str]) -> None:
    logs = [path.read_bytes() for path in rig.folder.glob("*.log")]
    assert any(logs)
    assert [found_in(log) for log in logs if found_in(log)] == []


async def test_without_the_person_s_key_it_cannot_be_read(rig: Rig, local: Local, told: list[str]) -> None:
    """The data key alone opens nothing that was stored: erasing a person's key erases what they were told."""
    (row,) = await local.rows(told[0])
    notification = await local.db.notifications.find_one({"_id": told[0]})
    assert notification is not None
    with pytest.raises(VaultError):
        local.data_key.unwrap(row["wrapped_key"])
    with pytest.raises(VaultError):
        local.data_key.open(notification["content"])
