"""What SendGrid tells later: every row of the table in services/email/sendgrid/events.py."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown.errors import Undecodable
from crown.notification.v1.types_pb2 import CallbackType, Channel, SuppressionReason
from services.email.sendgrid.events import Told, read

NOW = datetime(2026, 11, 25, 12, 0, 5, tzinfo=UTC)
USUAL = {
    "email": "Ann@Example.org",
    "timestamp": 1_795_608_000,
    "smtp-id": "<x@ismtpd>",
    "sg_event_id": "ZGVsaXZlcmVk",
    "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
    "delivery_id": "d" * 32,
    "notification_id": "019ab7c0-0000-7000-8000-000000000000",
    "category": ["x"],
    "ip": "127.0.0.1",
}
NONE = SuppressionReason.REASON_UNSPECIFIED


def told(*events: Any) -> list[Told]:
    return read(json.dumps(events).encode(), NOW)


def one(**given: Any) -> Told:
    (found,) = told({**USUAL, **given})
    return found


def test_an_event() -> None:
    found = one(event="delivered", response="250 OK ann@example.org")
    callback = found.callback
    assert (callback.delivery_id, callback.notification_id) == (
        USUAL["delivery_id"],
        USUAL["notification_id"],
    )
    assert (callback.channel, callback.provider) == (Channel.EMAIL, "sendgrid")
    # As the answer to the send named it.
    assert callback.provider_message_id == "14c5d75ce93"
    assert callback.occur_time.ToDatetime(UTC) == datetime.fromtimestamp(1_795_608_000, UTC)
    assert callback.receive_time.ToDatetime(UTC) == NOW
    assert found.address == "Ann@example.org"
    assert b"example.org" not in callback.SerializeToString().lower()


@pytest.mark.parametrize(
    ("given", "expected", "suppress", "reason"),
    [
        ({"event": "processed"}, CallbackType.ACCEPTED, NONE, ""),
        ({"event": "deferred", "response": "400 try again"}, CallbackType.DEFERRED, NONE, ""),
        ({"event": "delivered"}, CallbackType.DELIVERED, NONE, ""),
        (
            {"event": "bounce", "type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 <ann@example.org>"},
            CallbackType.BOUNCED,
            SuppressionReason.BOUNCE,
            "bounce 5.1.1",
        ),
        (
            {"event": "bounce", "type": "blocked", "status": "5.7.1", "reason": "our IP is on a list"},
            CallbackType.BOUNCED,
            NONE,
            "blocked 5.7.1",
        ),
        ({"event": "bounce", "type": "new word"}, CallbackType.BOUNCED, NONE, ""),
        ({"event": "bounce", "status": "ann@example.org"}, CallbackType.BOUNCED, NONE, ""),
        (
            {"event": "dropped", "reason": "Bounced Address"},
            CallbackType.DROPPED,
            SuppressionReason.BOUNCE,
            "Bounced Address",
        ),
        (
            {"event": "dropped", "reason": "Spam Reporting Address"},
            CallbackType.DROPPED,
            SuppressionReason.COMPLAINT,
            "Spam Reporting Address",
        ),
        (
            {"event": "dropped", "reason": "Unsubscribed Address"},
            CallbackType.DROPPED,
            SuppressionReason.UNSUBSCRIBE,
            "Unsubscribed Address",
        ),
        ({"event": "dropped", "reason": "Spam Content ann@example.org"}, CallbackType.DROPPED, NONE, ""),
        ({"event": "open"}, CallbackType.OPENED, NONE, ""),
        ({"event": "open", "sg_machine_open": False}, CallbackType.OPENED, NONE, ""),
        ({"event": "click", "url": "https://crown.example/m/1"}, CallbackType.CLICKED, NONE, ""),
        ({"event": "spamreport"}, CallbackType.COMPLAINED, SuppressionReason.COMPLAINT, ""),
        ({"event": "unsubscribe"}, CallbackType.UNSUBSCRIBED, SuppressionReason.UNSUBSCRIBE, ""),
        (
            {"event": "group_unsubscribe", "asm_group_id": 1},
            CallbackType.UNSUBSCRIBED,
            SuppressionReason.UNSUBSCRIBE,
            "",
        ),
    ],
    ids=lambda value: (
        f"{value['event']} {value.get('type', value.get('reason', ''))}" if isinstance(value, dict) else ""
    ),
)
def test_what_it_means(given: dict[str, Any], expected: Any, suppress: Any, reason: str) -> None:
    found = one(**given)
    assert (found.callback.type, found.suppress, found.callback.reason) == (expected, suppress, reason)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"event": "group_resubscribe"}, id="an event that means nothing here"),
        pytest.param({"event": "of next year"}, id="an unknown event"),
        pytest.param({"event": "open", "sg_machine_open": True}, id="opened by a machine"),
        pytest.param({"event": "delivered", "delivery_id": ""}, id="not ours"),
        pytest.param({"event": "delivered", "delivery_id": "d" * 31 + "$"}, id="no id of ours"),
        pytest.param({"event": "delivered", "delivery_id": 5}, id="an id that is a number"),
        pytest.param({"event": "delivered", "timestamp": "x"}, id="no time"),
        pytest.param({"event": "delivered", "timestamp": -1}, id="before 1970"),
        pytest.param({"event": "delivered", "timestamp": 10**15}, id="after 9999"),
        pytest.param({"event": None}, id="nothing"),
    ],
)
def test_what_means_nothing_is_passed_over_alone(given: dict[str, Any]) -> None:
    assert [found.callback.type for found in told({**USUAL, **given}, {**USUAL, "event": "processed"})] == [
        CallbackType.ACCEPTED
    ]


def test_without_our_ids() -> None:
    assert told({"event": "bounce", "type": "bounce", "email": "ann@example.org", "timestamp": 1}) == []


def test_a_bad_address_suppresses_nobody() -> None:
    found = one(event="spamreport", email="ann@example.org, eve@example.net")
    assert (found.address, found.suppress) == ("", NONE)
    assert found.callback.type == CallbackType.COMPLAINED


def test_the_same_told_again_has_the_same_id() -> None:
    """Also with another sg_event_id, which it then has."""
    first = one(event="delivered", sg_event_id="one").callback.callback_id
    # The address has no part in it: who reads the id beside the rest could guess it.
    assert one(event="delivered", email="eve@example.org").callback.callback_id == first
    assert one(event="delivered", sg_event_id="two", attempt="3").callback.callback_id == first
    others = [
        one(event="bounce").callback.callback_id,
        one(event="delivered", timestamp=1_795_608_001).callback.callback_id,
        one(event="delivered", sg_message_id="another.filter").callback.callback_id,
        one(event="delivered", delivery_id="f" * 32).callback.callback_id,
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[", b"[1,]", b"\xff", b"[" * 100_000, b'"x"'])
def test_no_list(body: bytes) -> None:
    with pytest.raises(Undecodable):
        read(body, NOW)


@pytest.mark.parametrize(
    "body", [b"[]", b'[1,null,[],{},"x"]', b'[{"event":"\xff"}]', b"[" + b"[" * 900 + b"]" * 901]
)
def test_a_list_of_nothing(body: bytes) -> None:
    assert read(body, NOW) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from([*USUAL, "event", "type", "status", "reason"]), inner)
        ),
    )
)
def test_any_list_is_read(value: Any) -> None:
    assert read(json.dumps([value]).encode(), NOW) == []


@given(
    st.dictionaries(
        st.sampled_from([*USUAL, "type", "status", "reason", "sg_machine_open"]), st.text() | st.integers()
    )
)
def test_any_event_is_read(fields: dict[str, Any]) -> None:
    for found in told({**USUAL, "event": "bounce", **fields}):
        assert len(found.callback.reason) < 40
