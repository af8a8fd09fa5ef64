"""The wire protocol: what is a message, and what comes back byte for byte."""

from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.realtime.message import NULL, Broadcast, Push, Reply
from services.realtime.serializer import V2, UndecodableFrame, for_version

v2 = V2()


def test_a_message_has_five_fields() -> None:
    message = v2.decode('["1","2","user:ann","phx_join",{"since":3}]')
    assert (bytes(message.join_ref), bytes(message.ref)) == (b'"1"', b'"2"')
    assert (message.topic, message.event) == ("user:ann", "phx_join")
    assert bytes(message.payload) == b'{"since":3}'


def test_more_fields_are_ignored() -> None:
    assert v2.decode('[null,1,"t","e",{},"more",[]]').event == "e"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "{}",
        "[]",
        '["1","2","t","e"]',
        '["1","2","t","e",{}',
        '["1","2","t","e",{}] x',
        '["1","2","t","e",{"a":NaN}]',
        '["1","2","t","e",Infinity]',
        '["1","2","t","e",{"a":1,}]',
        '["1","2","t","e",01]',
        '["1","2","t","e","\x01"]',
        '["1","2","\\ud800","e",{}]',
        '["1","2","t","e",' + "[" * 60_000 + "]" * 60_000 + "]",
        '["1","2",' + "[" * 30_000 + "]" * 30_000 + ',"e",{}]',
    ],
    ids=lambda text: text[:24] or "nothing",
)
def test_anything_else_is_undecodable(text: str) -> None:
    with pytest.raises(UndecodableFrame):
        v2.decode(text)


@given(st.text(max_size=200))
def test_no_text_does_any_harm(text: str) -> None:
    with contextlib.suppress(UndecodableFrame):
        v2.decode(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_refs_come_back_as_they_were_sent(join_ref: object, ref: object) -> None:
    sent = json.dumps([join_ref, ref, "t", "e", {}])
    message = v2.decode(sent)
    reply = v2.encode(Reply(message.join_ref, message.ref, "t", "ok", {}))
    said = json.dumps(join_ref), json.dumps(ref)
    assert reply.decode() == f'[{said[0]},{said[1]},"t","phx_reply",{{"status":"ok","response":{{}}}}]'


def test_a_push_to_one_channel_has_its_refs() -> None:
    one = msgspec.Raw(b'"1"')
    assert v2.encode(Push(one, one, "t", "phx_close", {})) == b'["1","1","t","phx_close",{}]'


def test_a_heartbeat_is_answered_without_join_ref() -> None:
    reply = Reply(NULL, msgspec.Raw(b"5"), "phoenix", "ok", {})
    assert v2.encode(reply) == b'[null,5,"phoenix","phx_reply",{"status":"ok","response":{}}]'


def test_a_broadcast_has_no_refs() -> None:
    assert v2.fastlane(Broadcast("t", "msg", {"a": "ü"})) == '[null,null,"t","msg",{"a":"ü"}]'.encode()


@pytest.mark.parametrize(
    ("vsn", "spoken"),
    [
        ("2.0.0", True),
        ("2.0.17", True),
        ("2.0", False),
        ("2", False),
        ("2.1.0", False),
        ("3.0.0", False),
        ("2.0.0x", False),
        ("2.0.01", False),
        ("", False),
        (None, False),
    ],
)
def test_versions(vsn: str | None, spoken: bool) -> None:
    assert (for_version(vsn) is not None) == spoken
