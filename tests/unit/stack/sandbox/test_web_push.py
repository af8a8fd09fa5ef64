"""The push service for browsers: what it takes, what it refuses, and that it reads what a browser would read."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from stack.journal import Journal
from stack.sandbox.subscriptions import Subscriptions
from stack.sandbox.web_push_crypto import BrowserKeys, Undecryptable, decoded, encoded, point, public_key

if TYPE_CHECKING:
    from tests.unit.stack.sandbox.conftest import Sandbox

SENDER = ec.generate_private_key(ec.SECP256R1())
K = encoded(point(SENDER.public_key()))

# RFC 8291, appendix A.
RFC_PRIVATE = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
RFC_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
RFC_BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
    "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def encrypted(plain: bytes, subscription: dict[str, Any], size: int = 4_096, end: bytes = b"\x02") -> bytes:
    """A message of one record for a subscription."""
    own, salt = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
    theirs, auth = (decoded(subscription["keys"][name]) for name in ("p256dh", "auth"))
    ours = point(own.public_key())
    shared = own.exchange(ec.ECDH(), public_key(theirs))
    secret = HKDF(SHA256(), 32, auth, b"WebPush: info\0" + theirs + ours).derive(shared)
    key = HKDF(SHA256(), 16, salt, b"Content-Encoding: aes128gcm\0").derive(secret)
    nonce = HKDF(SHA256(), 12, salt, b"Content-Encoding: nonce\0").derive(secret)
    return salt + size.to_bytes(4) + b"\x41" + ours + AESGCM(key).encrypt(nonce, plain + end, None)


def authorization(origin: str, key: ec.EllipticCurvePrivateKey = SENDER, k: str = K, **changes: Any) -> str:
    claims = {"aud": origin, "exp": int(time.time()) + 3_600, "sub": "mailto:crown@crown.example", **changes}
    return f"vapid t={jwt.encode({n: v for n, v in claims.items() if v}, key, 'ES256')}, k={k}"


async def subscribed(sandbox: Sandbox, **body: str) -> dict[str, Any]:
    status, found = await sandbox.call("POST", "/web-push/subscriptions", json=body)
    assert status == 201
    return dict(found)


async def push(
    sandbox: Sandbox, subscription: dict[str, Any], body: bytes | None = None, **headers: Any
) -> tuple[int, Any]:
    """Sends; a header that is None is left out."""
    sent = {
        "TTL": "60",
        "Content-Encoding": "aes128gcm",
        "Urgency": "high",
        "Topic": "chat-1",
        "Authorization": authorization(sandbox.url),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    path = subscription["endpoint"].removeprefix(sandbox.url)
    body = encrypted(b"Hello", subscription) if body is None else body
    return await sandbox.call(
        "POST", path, data=body, headers={name: value for name, value in sent.items() if value is not None}
    )


async def test_a_message_arrives_in_the_clear(sandbox: Sandbox) -> None:
    subscription = await subscribed(sandbox)
    message = {"title": "Hello", "message": "x" * 3_500, "notification_id": "n-1", "delivery_id": "d-1"}
    body = encrypted(json.dumps(message).encode(), subscription)
    path = subscription["endpoint"].removeprefix(sandbox.url)
    headers = {"TTL": "0", "Content-Encoding": "aes128gcm", "Authorization": authorization(sandbox.url)}
    async with sandbox.http.post(sandbox.url + path, data=body, headers=headers) as response:
        assert response.status == 201
        location = response.headers["Location"]
    [entry] = await sandbox.entries(provider="web_push")
    assert json.loads(entry["text"]) == message
    assert (entry["title"], entry["notification_id"], entry["delivery_id"]) == ("Hello", "n-1", "d-1")
    assert (entry["recipient"], entry["message_id"]) == (
        subscription["endpoint"],
        location.rpartition("/")[2],
    )


async def test_a_message_may_be_empty_and_no_json(sandbox: Sandbox) -> None:
    subscription = await subscribed(sandbox)
    assert (await push(sandbox, subscription, b"", Content_Encoding=None))[0] == 201
    assert (await push(sandbox, subscription))[0] == 201
    assert [entry["text"] for entry in await sandbox.entries()] == ["", "Hello"]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"TTL": None}, "TTL"),
        ({"TTL": "soon"}, "TTL"),
        ({"Urgency": "urgent"}, "Urgency"),
        ({"Topic": "no spaces"}, "Topic"),
        ({"Topic": "x" * 33}, "Topic"),
        ({"Content_Encoding": None}, "Content-Encoding"),
        ({"Content_Encoding": "aesgcm"}, "Content-Encoding"),
    ],
)
async def test_headers_are_read_strictly(sandbox: Sandbox, headers: dict[str, Any], words: str) -> None:
    status, body = await push(sandbox, await subscribed(sandbox), **headers)
    assert status == 400
    assert words in body["message"]
    assert await sandbox.entries() == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda origin: None, 401),
        (lambda origin: "Bearer x", 401),
        (lambda origin: "vapid t=x", 401),
        (lambda origin: authorization(origin, k="AAAA"), 401),
        (lambda origin: authorization(origin, ec.generate_private_key(ec.SECP256R1())), 403),
        (lambda origin: authorization(origin, aud="https://push.example"), 403),
        (lambda origin: authorization(origin, exp=int(time.time()) - 1), 403),
        (lambda origin: authorization(origin, exp=int(time.time()) + 25 * 3_600), 403),
        (lambda origin: authorization(origin, exp=None), 403),
        (lambda origin: authorization(origin, sub=None), 403),
        (lambda origin: authorization(origin, sub="crown"), 403),
    ],
    ids=[
        "none",
        "bearer",
        "no key",
        "no point",
        "other key",
        "aud",
        "past",
        "a day on",
        "no exp",
        "no sub",
        "sub",
    ],
)
async def test_vapid(sandbox: Sandbox, change: Callable[[str], str | None], status: int) -> None:
    subscription = await subscribed(sandbox)
    assert (await push(sandbox, subscription, Authorization=change(sandbox.url)))[0] == status
    # What was good once does not open the door for what is bad.
    assert (await push(sandbox, subscription))[0] == 201
    assert (await push(sandbox, subscription, Authorization=change(sandbox.url)))[0] == status


async def test_a_subscription_is_for_one_sender_where_it_says_so(sandbox: Sandbox) -> None:
    assert (await push(sandbox, await subscribed(sandbox, applicationServerKey=K)))[0] == 201
    other = encoded(point(ec.generate_private_key(ec.SECP256R1()).public_key()))
    assert (await push(sandbox, await subscribed(sandbox, applicationServerKey=other)))[0] == 403
    status, body = await sandbox.call(
        "POST", "/web-push/subscriptions", json={"applicationServerKey": "AAAA"}
    )
    assert (status, body["field"]) == (400, "applicationServerKey")


async def test_what_is_too_large_is_refused(sandbox: Sandbox) -> None:
    subscription = await subscribed(sandbox)
    room = 4_096 - 86 - 17
    assert (await push(sandbox, subscription, encrypted(b"x" * room, subscription)))[0] == 201
    assert (await push(sandbox, subscription, encrypted(b"x" * (room + 1), subscription)))[0] == 413


async def test_what_no_browser_could_read_is_refused(sandbox: Sandbox) -> None:
    subscription, other = await subscribed(sandbox), await subscribed(sandbox)
    for body in (
        encrypted(b"Hello", other),
        encrypted(b"Hello", subscription, end=b"\x01"),
        encrypted(b"Hello", subscription, size=17),
        encrypted(b"Hello", subscription)[:-1],
        b"Hello",
    ):
        status, told = await push(sandbox, subscription, body)
        assert status == 400
        assert "cannot decrypt" in told["message"]


async def test_who_unsubscribed_is_gone(sandbox: Sandbox) -> None:
    subscription = await subscribed(sandbox)
    path = subscription["endpoint"].removeprefix(sandbox.url)
    assert await sandbox.call("DELETE", path) == (200, {"ended": True})
    assert await sandbox.call("DELETE", path) == (200, {"ended": False})
    assert (await push(sandbox, subscription))[0] == 410
    assert (await push(sandbox, {**subscription, "endpoint": f"{sandbox.url}/web-push/nobody"}))[0] == 404


def test_the_example_of_the_rfc_is_decrypted() -> None:
    keys = BrowserKeys(decoded(RFC_PRIVATE), decoded(RFC_AUTH))
    assert keys.decrypt(decoded(RFC_BODY)) == b"When I grow up, I want to be a watermelon"
    with pytest.raises(Undecryptable):
        keys.decrypt(decoded(RFC_BODY)[:-1] + b"\0")


def test_subscriptions_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "subscriptions"
    before = Subscriptions(Journal(path))
    kept, ended = before.new("key"), before.new()
    assert before.end(ended.id)
    before.close()
    after = Subscriptions(Journal(path))
    found, gone = after.get(kept.id), after.get(ended.id)
    assert found is not None
    assert gone is not None
    assert (found.sender, found.keys.p256dh, found.keys.auth) == ("key", kept.keys.p256dh, kept.keys.auth)
    assert (found.gone, gone.gone) == (False, True)
    assert len(base64.urlsafe_b64decode(found.keys.auth + "==")) == 16
