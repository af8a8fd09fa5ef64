"""Every REST path of the contract reaches its RPC, at its service, as the message that it means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from google.protobuf.json_format import MessageToDict

from crown.notification.v1 import inbox_service_pb2, preference_service_pb2
from gateway import contract
from gateway.render import HERE

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.integration.gateway.conftest import Call, Context, Gateway

DATA = {"title": "Hello", "message": "there"}
PREFERENCES = {"user_id": "u1", "categories": {"marketing": {"email": True, "sms": False}}}
INGEST, EMAIL, PUSH = "INGEST_ADDRESS", "EMAIL_ADDRESS", "PUSH_ADDRESS"
SMS, REALTIME = "SMS_ADDRESS", "REALTIME_ADDRESS"

# Method, path, body; then where it arrives, as which RPC and message.
CASES: list[tuple[str, str, Any, str, str, dict[str, Any]]] = [
    ("POST", "/api/v1/notifications", {"type": "push", "user_id": "u1", "data": DATA},
     INGEST, "SendNotification", {"type": "PUSH", "user_id": "u1", "data": DATA}),
    ("POST", "/api/v1/notifications/bulk", {"notifications": [{"type": "REAL_TIME", "user_ids": ["a", "b"]}]},
     INGEST, "SendBulkNotifications", {"notifications": [{"type": "REAL_TIME", "user_ids": ["a", "b"]}]}),
    ("GET", "/api/v1/notifications/n1", None, INGEST, "GetNotification", {"notification_id": "n1"}),
    ("POST", "/api/v1/notifications/n1:cancel", {}, INGEST, "CancelNotification", {"notification_id": "n1"}),
    ("GET", "/api/v1/users/u1/notifications?page=2&limit=20&cursor=c", None,
     INGEST, "ListNotifications", {"user_id": "u1", "page": 2, "limit": 20, "cursor": "c"}),
    ("GET", "/api/v1/users/u1/notifications?unread_only=true", None,
     INGEST, "ListNotifications", {"user_id": "u1", "unread_only": True}),
    ("GET", "/api/v1/users/u1/notifications/unread-count", None, INGEST, "GetUnreadCount", {"user_id": "u1"}),
    ("POST", "/api/v1/users/a:b/notifications/n1:read", {},
     INGEST, "MarkRead", {"user_id": "a:b", "notification_id": "n1"}),
    ("POST", "/api/v1/users/u1/notifications:read", {"notification_ids": ["n1", "n2"]},
     INGEST, "MarkRead", {"user_id": "u1", "notification_ids": ["n1", "n2"]}),
    ("POST", "/api/v1/users/u1/notifications:read-all", {}, INGEST, "MarkAllRead", {"user_id": "u1"}),
    ("GET", "/api/v1/users/u1/notifications?category=social&group_key=post:1&view=archived", None,
     INGEST, "ListNotifications",
     {"user_id": "u1", "category": "SOCIAL", "group_key": "post:1", "view": "ARCHIVED"}),
    ("POST", "/api/v1/users/a:b/notifications/n1:unread", {},
     INGEST, "MarkUnread", {"user_id": "a:b", "notification_id": "n1"}),
    ("POST", "/api/v1/users/u1/notifications:unread", {"all": True},
     INGEST, "MarkUnread", {"user_id": "u1", "all": True}),
    ("POST", "/api/v1/users/u1/notifications/n1:seen", {},
     INGEST, "MarkSeen", {"user_id": "u1", "notification_id": "n1"}),
    ("POST", "/api/v1/users/u1/notifications:seen", {"all": True},
     INGEST, "MarkSeen", {"user_id": "u1", "all": True}),
    ("POST", "/api/v1/users/a:b/notifications/n1:archive", {},
     INGEST, "ArchiveNotifications", {"user_id": "a:b", "notification_id": "n1"}),
    ("POST", "/api/v1/users/u1/notifications:archive", {"notification_ids": ["n1", "n2"]},
     INGEST, "ArchiveNotifications", {"user_id": "u1", "notification_ids": ["n1", "n2"]}),
    ("POST", "/api/v1/users/u1/notifications/n1:unarchive", {},
     INGEST, "UnarchiveNotifications", {"user_id": "u1", "notification_id": "n1"}),
    ("POST", "/api/v1/users/u1/notifications:unarchive", {"all": True},
     INGEST, "UnarchiveNotifications", {"user_id": "u1", "all": True}),
    ("DELETE", "/api/v1/users/a:b/notifications/n1", None,
     INGEST, "DeleteNotifications", {"user_id": "a:b", "notification_id": "n1"}),
    ("POST", "/api/v1/users/u1/notifications:delete", {"notification_ids": ["n1"]},
     INGEST, "DeleteNotifications", {"user_id": "u1", "notification_ids": ["n1"]}),
    ("POST", "/api/v1/schedules", {"cron": "0 9 * * *", "notification": {"user_id": "u1", "type": "push"}},
     INGEST, "CreateSchedule", {"cron": "0 9 * * *", "notification": {"user_id": "u1", "type": "PUSH"}}),
    ("GET", "/api/v1/schedules?limit=5&cursor=c", None, INGEST, "ListSchedules", {"limit": 5, "cursor": "c"}),
    ("GET", "/api/v1/schedules/s1", None, INGEST, "GetSchedule", {"schedule_id": "s1"}),
    ("PUT", "/api/v1/schedules/s1", {"cron": "0 9 * * *", "time_zone": "Europe/Berlin"},
     INGEST, "UpdateSchedule", {"schedule_id": "s1", "cron": "0 9 * * *", "time_zone": "Europe/Berlin"}),
    ("POST", "/api/v1/schedules/s1:pause", {}, INGEST, "PauseSchedule", {"schedule_id": "s1"}),
    ("POST", "/api/v1/schedules/s1:resume", {}, INGEST, "ResumeSchedule", {"schedule_id": "s1"}),
    ("POST", "/api/v1/schedules/s1:run", {"idempotency_key": "k"},
     INGEST, "RunSchedule", {"schedule_id": "s1", "idempotency_key": "k"}),
    ("DELETE", "/api/v1/schedules/s1", None, INGEST, "DeleteSchedule", {"schedule_id": "s1"}),
    ("GET", "/api/v1/groups/g1", None, INGEST, "GetGroup", {"group_id": "g1"}),
    ("PUT", "/api/v1/groups/g1", {"kind": "chat"},
     INGEST, "UpdateGroup", {"group_id": "g1", "group": {"kind": "CHAT"}}),
    ("DELETE", "/api/v1/groups/team:1", None, INGEST, "DeleteGroup", {"group_id": "team:1"}),
    ("POST", "/api/v1/groups/g1/members", {"user_ids": ["a", "b"]},
     INGEST, "AddMembers", {"group_id": "g1", "user_ids": ["a", "b"]}),
    ("POST", "/api/v1/groups/g1/members:remove", {"user_ids": ["a"]},
     INGEST, "RemoveMembers", {"group_id": "g1", "user_ids": ["a"]}),
    ("GET", "/api/v1/groups/g1/members?limit=5&cursor=c", None,
     INGEST, "ListMembers", {"group_id": "g1", "limit": 5, "cursor": "c"}),
    ("GET", "/api/v1/users/a@b.c:d/notification-preferences", None,
     INGEST, "GetNotificationPreferences", {"user_id": "a@b.c:d"}),
    ("PUT", "/api/v1/users/u1/notification-preferences", PREFERENCES,
     INGEST, "UpdateNotificationPreferences", {"user_id": "u1", "preferences": PREFERENCES}),
    ("PATCH", "/api/v1/users/u1/notification-preferences?update_mask=all_off,categories.social", {"all_off": True},
     INGEST, "PatchNotificationPreferences",
     {"user_id": "u1", "preferences": {"all_off": True}, "update_mask": "allOff,categories.social"}),
    ("GET", "/api/v1/users/u%20x/contact", None, INGEST, "GetContact", {"user_id": "u x"}),
    ("PUT", "/api/v1/users/u1/contact", {"email": "a@example.org"},
     INGEST, "UpdateContact", {"user_id": "u1", "contact": {"email": "a@example.org"}}),
    ("DELETE", "/api/v1/users/a:b", None, INGEST, "ErasePerson", {"user_id": "a:b"}),
    ("GET", "/api/v1/users/a:b:export", None, INGEST, "ExportPerson", {"user_id": "a:b"}),
    ("GET", "/api/v1/books?start_time=2026-11-25T00:00:00Z", None,
     INGEST, "GetBooks", {"start_time": "2026-11-25T00:00:00Z"}),
    ("POST", "/api/v1/users/u1/devices", {"token": "t", "platform": "ios"},
     PUSH, "RegisterDevice", {"user_id": "u1", "token": "t", "platform": "IOS"}),
    ("GET", "/api/v1/users/u1/devices", None, PUSH, "ListDevices", {"user_id": "u1"}),
    ("DELETE", "/api/v1/users/u1/devices/d1", None, PUSH, "DeleteDevice", {"user_id": "u1", "device_id": "d1"}),
    ("POST", "/api/v1/email:send", {"to": "a@example.org", "data": DATA},
     EMAIL, "SendEmail", {"to": "a@example.org", "data": DATA}),
    ("POST", "/api/v1/push:send", {"token": "t", "data": DATA}, PUSH, "SendPush", {"token": "t", "data": DATA}),
    ("POST", "/api/v1/sms:send", {"to": "+14155550123", "data": DATA},
     SMS, "SendSms", {"to": "+14155550123", "data": DATA}),
    ("GET", "/api/v1/notifications/n1/timeline?user_id=u1&limit=5&cursor=c", None,
     INGEST, "ExplainNotification", {"notification_id": "n1", "user_id": "u1", "limit": 5, "cursor": "c"}),
    ("GET", "/api/v1/dead-letters?filter.channel=sms&filter.reason=UNDECODABLE&limit=5", None,
     INGEST, "ListDeadLetters", {"filter": {"channel": "SMS", "reason": "UNDECODABLE"}, "limit": 5}),
    ("GET", "/api/v1/dead-letters/d:1", None, INGEST, "GetDeadLetter", {"dead_letter_id": "d:1"}),
    ("POST", "/api/v1/dead-letters/d:1:replay", {}, INGEST, "ReplayDeadLetter", {"dead_letter_id": "d:1"}),
    ("POST", "/api/v1/dead-letters:replay", {"filter": {"channel": "EMAIL"}, "dry_run": True},
     INGEST, "ReplayDeadLetters", {"filter": {"channel": "EMAIL"}, "dry_run": True}),
    ("POST", "/api/v1/dead-letters/d:1:discard", {}, INGEST, "DiscardDeadLetter", {"dead_letter_id": "d:1"}),
    ("GET", "/api/v1/dead-letter-replays/r-1", None, INGEST, "GetReplay", {"replay_id": "r-1"}),
    ("POST", "/api/v1/dead-letter-replays/r-1:cancel", {}, INGEST, "CancelReplay", {"replay_id": "r-1"}),
    ("PUT", "/api/v1/templates/like", {"locales": {"en": {"subject": "Hi", "html": "<p>Hi</p>"}}},
     EMAIL, "PutTemplate", {"template_id": "like", "locales": {"en": {"subject": "Hi", "html": "<p>Hi</p>"}}}),
    ("GET", "/api/v1/templates/like?version=2", None, EMAIL, "GetTemplate", {"template_id": "like", "version": 2}),
    ("GET", "/api/v1/templates", None, EMAIL, "ListTemplates", {}),
    ("GET", "/api/v1/templates/like/versions", None, EMAIL, "ListTemplateVersions", {"template_id": "like"}),
    ("POST", "/api/v1/templates/like:activate", {"version": 2},
     EMAIL, "ActivateTemplateVersion", {"template_id": "like", "version": 2}),
    ("DELETE", "/api/v1/templates/like", None, EMAIL, "DeleteTemplate", {"template_id": "like"}),
    ("POST", "/api/v1/templates:preview", {"kind": "like"}, EMAIL, "PreviewTemplate", {"kind": "like"}),
    ("POST", "/api/v1/sms:preview", {"data": DATA}, SMS, "PreviewSms", {"data": DATA}),
    ("POST", "/api/v1/users/u1/events", {"event": "typing", "payload": {"a": [1, None]}},
     REALTIME, "Publish", {"user_id": "u1", "event": "typing", "payload": {"a": [1.0, None]}}),
    ("POST", "/api/v1/topics/chat:lobby/events", {"event": "hello", "ephemeral": True},
     REALTIME, "Publish", {"topic": "chat:lobby", "event": "hello", "ephemeral": True}),
    ("GET", "/api/v1/users/u1/notifications:stream?last_event_id=e.7", None,
     REALTIME, "Stream", {"user_id": "u1", "last_event_id": "e.7"}),
    ("GET", "/api/v1/users/u1/presence", None, REALTIME, "GetPresence", {"user_id": "u1"}),
    ("GET", "/api/v1/topics/group:a.b/presence", None, REALTIME, "GetPresence", {"topic": "group:a.b"}),
    ("GET", "/api/v1/presence?user_ids=u1&user_ids=u:2", None,
     REALTIME, "GetPresence", {"user_ids": ["u1", "u:2"]}),
    ("POST", "/api/v1/users/u1:disconnect", {"session_id": "s"},
     REALTIME, "Disconnect", {"user_id": "u1", "session_id": "s"}),
    ("POST", "/api/v1/users/a:b:disconnect", {}, REALTIME, "Disconnect", {"user_id": "a:b"}),
    ("POST", "/api/v1/services/feed:revokeTokens", {}, REALTIME, "RevokeTokens", {"service_id": "feed"}),
    ("POST", "/api/v1/operators/a:b:revokeTokens", {}, REALTIME, "RevokeTokens", {"operator_id": "a:b"}),
    ("POST", "/api/v1/users/u1/notifications/unread-count:read", {},
     INGEST, "MarkRead", {"user_id": "u1", "notification_id": "unread-count"}),
    ("POST", "/webhooks/sendgrid", {},
     EMAIL, "ReceiveSendGridEvents", {"body": {"content_type": "application/json", "data": "e30="}}),
    ("POST", "/webhooks/twilio/status?notification_id=n1&delivery_id=d1", {},
     SMS, "ReceiveTwilioStatus",
     {"notification_id": "n1", "delivery_id": "d1", "body": {"content_type": "application/json", "data": "e30="}}),
    ("POST", "/webhooks/twilio/inbound", {},
     SMS, "ReceiveTwilioInbound", {"body": {"content_type": "application/json", "data": "e30="}}),
    ("POST", "/webhooks/sns", {},
     SMS, "ReceiveSns", {"body": {"content_type": "application/json", "data": "e30="}}),
    ("GET", "/unsubscribe/abc", None, EMAIL, "ShowUnsubscribe", {"token": "abc"}),
    ("POST", "/unsubscribe/abc", {},
     EMAIL, "Unsubscribe", {"token": "abc", "body": {"content_type": "application/json", "data": "e30="}}),
    ("GET", "/api/v1/suppressions?channel=EMAIL&reason=bounce&limit=5&cursor=c", None,
     INGEST, "ListSuppressions", {"channel": "EMAIL", "reason": "BOUNCE", "limit": 5, "cursor": "c"}),
    ("POST", "/api/v1/suppressions", {"channel": "sms", "address": "+14155550123"},
     INGEST, "CreateSuppression", {"channel": "SMS", "address": "+14155550123"}),
    ("POST", "/api/v1/suppressions:look-up", {"channel": "EMAIL", "address": "a@example.org"},
     INGEST, "LookUpSuppression", {"channel": "EMAIL", "address": "a@example.org"}),
    ("DELETE", "/api/v1/suppressions/ab12", None, INGEST, "DeleteSuppression", {"suppression_id": "ab12"}),
    ("GET", "/readyz", None, INGEST, "GetReadiness", {}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]} {case[1]}" for case in CASES])
async def test_reaches_its_rpc(
    gateway: Gateway, case: tuple[str, str, Any, str, str, dict[str, Any]]
) -> None:
    method, path, body, address, rpc, message = case
    more = {} if body is None else {"json": body}
    reply = await gateway.send(method, path, **more)
    assert reply.status == 200, reply
    [call] = gateway.backend.calls
    assert (call.address, call.rpc) == (address, rpc)
    assert MessageToDict(call.message, preserving_proto_field_name=True) == message


def test_every_path_has_a_case() -> None:
    files = contract.load(HERE / "crown.binpb")
    rpcs = [rpc for _, service in contract.services(files) for rpc in service.method]
    without = [
        (rpc.name, method, template)
        for rpc in rpcs
        for method, template in contract.bindings(rpc)
        if not any((case[4], case[0]) == (rpc.name, method) and fits(template, case[1]) for case in CASES)
    ]
    assert without == []


def fits(template: str, path: str) -> bool:
    """Whether `path` is one that `template` stands for."""
    pattern = "[^/]+".join(re.escape(part) for part in re.split(r"\{[^}]+\}", template))
    return re.fullmatch(pattern, path.partition("?")[0]) is not None


@pytest.mark.parametrize("written", ["sms", "SMS", "Sms", 4])
async def test_enum_names_are_read_in_any_case(gateway: Gateway, written: object) -> None:
    assert (await gateway.send("POST", "/api/v1/notifications", json={"type": written})).status == 200
    assert gateway.backend.calls[0].message.type == 4


async def test_answers_in_proto_names_with_every_field(gateway: Gateway) -> None:
    reply = await gateway.send("GET", "/api/v1/users/u1/notifications")
    numbers = {"page": 0, "limit": 0, "total": 0, "offset": "0"}
    assert reply.json == {"notifications": [], **numbers, "next_cursor": "", "epoch": ""}


async def test_preferences_can_be_put_back_as_they_were_got(gateway: Gateway) -> None:
    held = preference_service_pb2.GetNotificationPreferencesResponse(user_id="u1")
    held.categories["marketing"].email = True
    held.update_time.GetCurrentTime()

    async def answer(call: Call, context: Context) -> Message:
        return held

    gateway.backend.answers["GetNotificationPreferences"] = answer
    got = await gateway.send("GET", "/api/v1/users/u1/notification-preferences")
    put = await gateway.send("PUT", "/api/v1/users/u1/notification-preferences", json=got.json)
    assert put.status == 200
    assert gateway.backend.calls[-1].message.preferences.SerializeToString() == held.SerializeToString()


async def test_passes_a_large_answer(gateway: Gateway) -> None:
    listed = inbox_service_pb2.ListNotificationsResponse()
    for number in range(100):
        listed.notifications.add(notification_id=str(number)).data.message = "x" * 16_000

    async def answer(call: Call, context: Context) -> Message:
        return listed

    gateway.backend.answers["ListNotifications"] = answer
    reply = await gateway.send("GET", "/api/v1/users/u1/notifications?limit=100")
    assert len(reply.json["notifications"]) == 100
    assert len(reply.text) > 1_600_000


async def test_passes_on_what_the_services_need_and_no_identity(gateway: Gateway) -> None:
    claimed = {"x-user-id": "evil", "x-tenant-id": "evil", "x-forwarded-for": "6.6.6.6", "x-forwarded-host": "evil",
               "x-envoy-original-path": "/evil", "x-request-id": "evil", "cookie": "a=b"}  # fmt: skip
    token = gateway.token()
    headers = {**claimed, "idempotency-key": "k-1", "traceparent": "00-1-2-01"}
    reply = await gateway.send("GET", "/api/v1/users/u1/notifications?page=1", token=token, headers=headers)
    metadata = gateway.backend.calls[0].metadata
    assert metadata["authorization"] == f"Bearer {token}"
    assert metadata["idempotency-key"] == "k-1"
    assert metadata["traceparent"] == "00-1-2-01"
    assert metadata["x-envoy-original-path"] == "/api/v1/users/u1/notifications?page=1"
    assert metadata["x-request-id"] == reply.headers["x-request-id"]
    assert "evil" not in "".join(metadata.values())
    assert "6.6.6.6" not in metadata.get("x-forwarded-for", "")
    assert "cookie" not in metadata


async def test_tells_the_services_how_long_a_rest_caller_waits(gateway: Gateway) -> None:
    await gateway.send("GET", "/api/v1/users/u1/notifications")
    assert 13 < gateway.backend.calls[0].deadline_s < 14.2


async def test_health_and_readiness_need_no_token(gateway: Gateway) -> None:
    assert (await gateway.send("GET", "/healthz", token=None)).json == {"status": "ok"}
    assert (await gateway.send("HEAD", "/healthz", token=None)).status == 200
    assert (await gateway.send("GET", "/readyz", token=None)).json == {"ready": []}


async def test_speaks_http2_on_the_same_port(gateway: Gateway) -> None:
    headers = {"authorization": f"Bearer {gateway.token()}"}
    async with httpx.AsyncClient(http1=False, http2=True, headers=headers) as http:
        reply = await http.post(f"{gateway.url}/api/v1/notifications", json={"user_id": "u1"})
    assert (reply.status_code, reply.http_version) == (200, "HTTP/2")
