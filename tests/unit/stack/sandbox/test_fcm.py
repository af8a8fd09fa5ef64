"""FCM's rules, with messages that firebase-admin encodes and with those that it refuses to."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest
from firebase_admin import messaging

if TYPE_CHECKING:
    from tests.unit.stack.sandbox.conftest import Sandbox

BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"


def full_message() -> Any:
    """One message with every part that firebase-admin knows."""
    light = messaging.LightSettings("#aabbcc", 100, 200)
    android = messaging.AndroidNotification(
        title="Android title",
        color="#112233",
        tag="t",
        event_timestamp=datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
        priority="high",
        vibrate_timings_millis=[100, 200],
        light_settings=light,
        visibility="private",
        notification_count=3,
        proxy="deny",
    )
    return messaging.Message(
        fid="device-1",
        data={"notification_id": "n-1", "delivery_id": "d-1"},
        notification=messaging.Notification("Title", "Body", "https://example.org/i.png"),
        android=messaging.AndroidConfig(
            collapse_key="c",
            priority="high",
            ttl=datetime.timedelta(hours=1.5),
            notification=android,
            fcm_options=messaging.AndroidFCMOptions("label"),
        ),
        webpush=messaging.WebpushConfig(
            headers={"TTL": "60"},
            notification=messaging.WebpushNotification("Title", actions=[], custom_data={"odd": [1]}),
            fcm_options=messaging.WebpushFCMOptions(link="https://example.org"),
        ),
        apns=messaging.APNSConfig(
            headers={"apns-collapse-id": "x" * 64},
            payload=messaging.APNSPayload(messaging.Aps(badge=3, alert=messaging.ApsAlert("t"))),
        ),
        fcm_options=messaging.FCMOptions("label"),
    )


def encoded(message: Any) -> Any:
    return messaging._MessagingService.encode_message(message)


def error_code(body: Any) -> str | None:
    codes = [d["errorCode"] for d in body["error"]["details"] if d["@type"] == FCM_ERROR]
    return codes[0] if codes else None


def field(body: Any) -> str | None:
    found = [d["fieldViolations"] for d in body["error"]["details"] if d["@type"] == BAD_REQUEST]
    return str(found[0][0]["field"]) if found else None


async def test_a_message_of_the_sdk_is_accepted_and_recorded(sandbox: Sandbox) -> None:
    status, body = await sandbox.push(encoded(full_message()))
    assert status == 200, body
    assert body["name"].startswith(f"projects/{sandbox.project}/messages/0:")
    [entry] = await sandbox.entries(notification_id="n-1")
    assert (entry["provider"], entry["recipient"], entry["delivery_id"]) == ("fcm", "device-1", "d-1")
    assert (entry["title"], entry["text"]) == ("Android title", "Body")
    assert entry["answer"] == body
    assert body["name"].endswith(entry["message_id"])


async def test_a_data_message_shows_its_words(sandbox: Sandbox) -> None:
    await sandbox.push({"token": "device-1", "data": {"title": "Hello", "message": "Hi Ann"}})
    [entry] = await sandbox.entries(recipient="device-1")
    assert (entry["title"], entry["text"]) == ("Hello", "Hi Ann")


@pytest.mark.parametrize(
    ("target", "recipient"),
    [
        ({"topic": "news"}, "topic:news"),
        ({"condition": "'a' in topics || 'b' in topics"}, "condition:'a' in topics || 'b' in topics"),
    ],
)
async def test_an_audience_is_one_effect(sandbox: Sandbox, target: dict[str, str], recipient: str) -> None:
    assert (await sandbox.push(target))[0] == 200
    assert [e["recipient"] for e in await sandbox.entries()] == [recipient]


async def test_json_names_are_read_as_well(sandbox: Sandbox) -> None:
    message = {
        "token": "device-1",
        "data": {"camelKey": "kept"},
        "android": {"collapseKey": "c", "notification": {"channelId": "x"}},
        "webpush": {"notification": {"requireInteraction": True}},
        "fcmOptions": {"analyticsLabel": "x"},
    }
    assert (await sandbox.push(message))[0] == 200


async def test_a_dry_run_reaches_nobody(sandbox: Sandbox) -> None:
    assert (await sandbox.push({"token": "device-1"}, validate_only=True))[0] == 200
    assert await sandbox.entries() == []


@pytest.mark.parametrize("token", ["", "made-up", "ya29.1.a.b"])
async def test_a_token_that_we_did_not_issue_is_refused(sandbox: Sandbox, token: str) -> None:
    status, body = await sandbox.push({"token": "device-1"}, token=token)
    assert status == 401
    assert (body["error"]["code"], body["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert [e["status"] for e in await sandbox.entries(kind="refusal")] == [401]


async def test_another_project_is_refused(sandbox: Sandbox) -> None:
    headers = {"Authorization": f"Bearer {(await sandbox.token())[1]['access_token']}"}
    path = "/v1/projects/other/messages:send"
    status, body = await sandbox.call("POST", path, json={"message": {"token": "x"}}, headers=headers)
    assert (status, body["error"]["status"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("target", ["token", "fid"])
@pytest.mark.parametrize(
    ("device", "status", "code"),
    [
        ("unregistered-1", 404, "UNREGISTERED"),
        ("mismatch-1", 403, "SENDER_ID_MISMATCH"),
        ("invalid-1", 400, "INVALID_ARGUMENT"),
        ("x" * 5_000, 400, "INVALID_ARGUMENT"),
        ("two words", 400, "INVALID_ARGUMENT"),
    ],
)
async def test_devices_that_fail_on_purpose(
    sandbox: Sandbox, target: str, device: str, status: int, code: str
) -> None:
    answer, body = await sandbox.push({target: device, "data": {"notification_id": "n-1"}})
    assert answer == status
    # No BadRequest beside it: that is how a sender tells a bad device from a bad payload.
    assert (error_code(body), field(body)) == (code, None)
    [entry] = await sandbox.entries(kind="refusal")
    assert (entry["recipient"], entry["notification_id"]) == (device, "n-1")


BAD: dict[str, tuple[Any, str | None, str]] = {
    "unknown field": ({"colour": "red"}, None, "message"),
    "unknown field, deep": ({"android": {"notification": {"x": 1}}}, None, "message.android.notification"),
    "number for text": ({"notification": {"title": 5}}, None, "message.notification.title"),
    "number in data": ({"data": {"n": 5}}, None, "message.data[0].value"),
    "bad duration": ({"android": {"ttl": "5"}}, None, "message.android.ttl"),
    "bad priority": ({"android": {"priority": "urgent"}}, None, "message.android.priority"),
    "bad colour": (
        {"android": {"notification": {"color": "red"}}},
        None,
        "message.android.notification.color",
    ),
    "bad label": ({"fcm_options": {"analytics_label": "a b"}}, None, "message.fcm_options.analytics_label"),
    "no target": ({"token": None}, None, "message.token"),
    "empty target": ({"token": ""}, "INVALID_ARGUMENT", "message"),
    "two targets": ({"topic": "news"}, "INVALID_ARGUMENT", "message"),
    "reserved key": ({"data": {"from": "x"}}, "INVALID_ARGUMENT", "message.data"),
    "reserved prefix": ({"data": {"google.x": "x"}}, "INVALID_ARGUMENT", "message.data"),
    "too big": ({"data": {"a": "x" * 4_096}}, "INVALID_ARGUMENT", "message"),
    "too big for Android": (
        {"data": {"a": "x" * 3_000}, "android": {"notification": {"body": "x" * 1_200}}},
        "INVALID_ARGUMENT",
        "message",
    ),
    "too long-lived": ({"android": {"ttl": "2419201s"}}, "INVALID_ARGUMENT", "message.android.ttl"),
    "collapse id": (
        {"apns": {"headers": {"apns-collapse-id": "x" * 65}}},
        "INVALID_ARGUMENT",
        "message.apns.headers",
    ),
    "plain link": (
        {"webpush": {"fcm_options": {"link": "http://x.org"}}},
        "INVALID_ARGUMENT",
        "message.webpush.fcm_options.link",
    ),
}


@pytest.mark.parametrize(("change", "code", "path"), BAD.values(), ids=BAD.keys())
async def test_a_bad_message_is_refused_by_field(
    sandbox: Sandbox, change: Any, code: str | None, path: str
) -> None:
    status, body = await sandbox.push({"token": "device-1", **change})
    assert status == 400
    assert (body["error"]["code"], body["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert (error_code(body), field(body)) == (code, path)
    assert await sandbox.entries() == []
    assert len(await sandbox.entries(kind="refusal", provider="fcm")) == 1


async def test_the_largest_message_passes(sandbox: Sandbox) -> None:
    assert (await sandbox.push({"token": "device-1", "data": {"a": "x" * 4_000}}))[0] == 200
    # Each platform gets its own part only, so two large ones do not add up.
    half = {"body": "x" * 3_000}
    message = {"token": "device-1", "android": {"notification": half}, "webpush": {"notification": half}}
    assert (await sandbox.push(message))[0] == 200


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{", None),
        (b"{}", "message"),
        (b"[]", ""),
        (b'{"message": 5}', "message"),
        (b'{"message":{},"x":1}', ""),
    ],
)
async def test_a_request_that_is_none(sandbox: Sandbox, body: bytes, path: str | None) -> None:
    headers = {"Authorization": f"Bearer {(await sandbox.token())[1]['access_token']}"}
    url = f"/v1/projects/{sandbox.project}/messages:send"
    status, answer = await sandbox.call("POST", url, data=body, headers=headers)
    assert (status, field(answer)) == (400, path)
