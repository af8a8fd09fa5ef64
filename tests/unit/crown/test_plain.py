"""What passes for plain breaks no rule: whatever is sent, nothing else gets in than what the rules let in."""

from __future__ import annotations

from typing import Any

import protovalidate
import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crown import validation
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.plain import is_plain

# Around what the rules allow, and the characters at the edges of their classes.
CHARACTERS = st.sampled_from("aZ09._~@|:+=-, \n\t\r\0\x1f\x20\x21\x7e\x7f\x80\x9f\xa0é\u2028\u2029/<A")
TEXT = st.text(CHARACTERS, max_size=8)
IDS = st.one_of(st.sampled_from(["user123", "a" * 128, "a" * 129, "", "-a", "a,b", ",", "a\n", "é"]), TEXT)
LONG = st.sampled_from(
    ["", "Hi", "x" * 200, "x" * 201, "é" * 200, "x" * 8_000, "x" * 8_001, "a\nb", "a\tb", "a\rb"]
)
LINKS = st.sampled_from(["", "/a", "x" * 2_048, "x" * 2_049])
EXTRA = Struct()
EXTRA.update({"a": 1})

FIELDS: dict[str, Any] = {
    "type": st.integers(0, 8),
    "channels": st.lists(st.integers(0, 8), max_size=6),
    "user_id": IDS,
    "user_ids": st.lists(IDS, max_size=4),
    "data": st.fixed_dictionaries(
        {},
        optional={
            "title": st.one_of(LONG, TEXT),
            "message": st.one_of(LONG, TEXT),
            "action_url": LINKS,
            "image_url": LINKS,
            "extra": st.just(EXTRA),
        },
    ),
    "kind": st.one_of(st.sampled_from(["like", "l" * 64, "l" * 65, "Like", "9", "a-b"]), TEXT),
    "category": st.integers(0, 8),
    "priority": st.integers(0, 5),
    "expires_at": st.sampled_from([Timestamp(seconds=1), Timestamp(seconds=4_000_000_000)]),
    "idempotency_key": st.one_of(st.sampled_from(["k" * 255, "k" * 256, "!~"]), TEXT),
    "address": st.just({"phone": "1"}),
    "template_id": st.one_of(st.sampled_from(["t" * 64, "t" * 65, "a-b", "a_b", "A"]), TEXT),
    "collapse_key": st.one_of(st.sampled_from(["c" * 64, "c" * 65]), TEXT),
    "webhook_url": LINKS,
    "everyone": st.booleans(),
    "group_ids": st.lists(IDS, max_size=2),
    "escalations": st.just([{}]),
}
LIKELY = {"user_id": st.just("user123"), "data": st.just({"title": "Hi"})}
REQUESTS = st.one_of(
    st.fixed_dictionaries({}, optional=FIELDS),
    # Good but for one or two fields: most mistakes are alone.
    st.sampled_from(sorted(FIELDS)).flatmap(
        lambda name: st.fixed_dictionaries({**LIKELY, name: FIELDS[name]})
    ),
)


@settings(max_examples=600)
@given(REQUESTS)
@example({"user_ids": ["a", "a"], "data": {"title": "Hi"}})
@example({"user_ids": ["a", ""], "data": {"title": "Hi"}})
@example({"type": 1, "channels": [1], "user_id": "a", "data": {"title": "Hi"}})
def test_what_is_plain_breaks_no_rule(given_: dict[str, Any]) -> None:
    request = SendNotificationRequest(**given_)
    if is_plain(request):
        assert protovalidate.collect_violations(request) == []


@pytest.mark.parametrize(
    "given_",
    [
        {"user_id": "user123"},
        {"user_ids": [f"user:{n}@x.org" for n in range(10_000)]},
        {"type": 2, "user_id": "a.b_c~d@e|f:g+h=i-j"},
        {"channels": [1, 2, 3, 4, 5], "user_id": "u" * 128, "kind": "like", "category": 1, "priority": 2},
        {"user_id": "u", "idempotency_key": "k" * 255, "template_id": "a-b", "collapse_key": "c"},
        {"user_id": "u", "data": {"message": "a\tb\nc é", "action_url": "/a", "image_url": "https://x.org/"}},
    ],
    ids=lambda given_: ", ".join(given_),
)
def test_what_most_callers_send_is_plain(given_: dict[str, Any]) -> None:
    assert is_plain(SendNotificationRequest(**{"data": {"title": "Hi"}, **given_}))


def test_nobody_and_too_many_are_not() -> None:
    data: Any = {"title": "Hi"}
    assert not is_plain(SendNotificationRequest(data=data))
    assert not is_plain(SendNotificationRequest(data=data, user_ids=[f"u{n}" for n in range(10_001)]))
    assert not is_plain(SendNotificationRequest(user_id="u"))


def test_the_rules_are_asked_of_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def ask(message: Any) -> list[Any]:
        asked.append(message)
        return []

    monkeypatch.setattr(protovalidate, "collect_violations", ask)
    data: Any = {"title": "Hi"}
    validation.violations(SendNotificationRequest(user_id="u", data=data))
    assert asked == []
    validation.violations(SendNotificationRequest(user_id="u", data=data, webhook_url="x"))
    assert len(asked) == 1
