"""The wire protocol: what is a message, and what comes back byte for byte."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.realtime.message import NULL, Broadcast, Frame, Push, Reply
from services.realtime.serializer import V1, V2, Serializer, UndecodableFrame, for_version

v1, v2 = V1(), V2()


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
    said = json.dumps(join_ref), json.dumps(ref)
    message = v2.decode(f'[{said[0]},{said[1]},"t","e",{{}}]')
    reply = v2.encode(Reply(message.join_ref, message.ref, "t", "ok", {}))
    assert reply.data.decode() == f'[{said[0]},{said[1]},"t","phx_reply",{{"status":"ok","response":{{}}}}]'
    message = v1.decode(
        json.dumps({"topic": "t", "event": "e", "payload": {}, "ref": ref, "join_ref": join_ref})
    )
    assert bytes(message.join_ref).decode() == said[0]
    reply = v1.encode(Reply(message.join_ref, message.ref, "t", "ok", {}))
    assert json.loads(reply.data)["ref"] == ref


@given(JSON, JSON, st.text(), st.text(), JSON)
def test_what_is_encoded_is_decoded_again(
    join_ref: object, ref: object, topic: str, event: str, payload: object
) -> None:
    raw = [msgspec.Raw(json.dumps(one).encode()) for one in (join_ref, ref, payload)]
    message = Push(raw[0], raw[1], topic, event, raw[2])
    for version in (v2, v1):
        frame = version.encode(message)
        found = version.decode(frame.data.decode())
        assert not frame.binary
        assert (found.topic, found.event) == (topic, event)
        assert [bytes(found.ref), bytes(found.payload)] == [bytes(raw[1]), bytes(raw[2])]
    assert bytes(v2.decode(v2.encode(message).data.decode()).join_ref) == bytes(raw[0])


ONE, TWO = msgspec.Raw(b'"1"'), msgspec.Raw(b"2")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param(
            Reply(NULL, TWO, "phoenix", "ok", {}),
            '[null,2,"phoenix","phx_reply",{"status":"ok","response":{}}]',
            id="heartbeat",
        ),
        pytest.param(
            Reply(ONE, ONE, "t", "error", {"reason": "x"}),
            '["1","1","t","phx_reply",{"status":"error","response":{"reason":"x"}}]',
            id="refusal",
        ),
        pytest.param(Push(ONE, ONE, "t", "phx_close", {}), '["1","1","t","phx_close",{}]', id="close"),
        pytest.param(Push(ONE, NULL, "t", "e", {}), '["1",null,"t","e",{}]', id="push"),
        pytest.param(Broadcast("t", "msg", {"a": "ü"}), '[null,null,"t","msg",{"a":"ü"}]', id="broadcast"),
    ],
)
def test_text_frames(message: Push | Reply | Broadcast, text: str) -> None:
    assert sent(v2, message) == Frame(text.encode())
    _, ref, topic, event, payload = json.loads(text)
    old = {"topic": topic, "event": event, "payload": payload, "ref": ref}
    assert sent(v1, message) == Frame(json.dumps(old, ensure_ascii=False, separators=(",", ":")).encode())


def sent(version: Serializer, message: Push | Reply | Broadcast) -> Frame:
    """What goes out."""
    return version.fastlane(message) if isinstance(message, Broadcast) else version.encode(message)


DATA = b"\x01\x02\xff"


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        pytest.param(Reply(ONE, TWO, "r:1", "ok", DATA), b"\x01\x01\x01\x03\x0212r:1ok", id="reply"),
        pytest.param(Reply(NULL, NULL, "r:1", "ok", DATA), b"\x01\x00\x00\x03\x02r:1ok", id="null refs"),
        pytest.param(Push(ONE, TWO, "r:1", "bin", DATA), b"\x00\x01\x03\x031r:1bin", id="push"),
        pytest.param(Broadcast("r:ü", "bin", DATA), b"\x02\x04\x03r:\xc3\xbcbin", id="broadcast"),
        pytest.param(Broadcast("r" * 255, "", DATA), b"\x02\xff\x00" + b"r" * 255, id="longest field"),
    ],
)
def test_binary_frames(message: Push | Reply | Broadcast, frame: bytes) -> None:
    assert sent(v2, message) == Frame(frame + DATA, binary=True)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param(Broadcast("r" * 256, "e", DATA), f'[null,null,"{"r" * 256}","e",', id="topic"),
        pytest.param(Broadcast("t", "ü" * 128, DATA), f'[null,null,"t","{"ü" * 128}",', id="event"),
        pytest.param(Push(ONE, ONE, "t", "e" * 256, DATA), f'["1","1","t","{"e" * 256}",', id="push"),
        pytest.param(
            Reply(msgspec.Raw(b"[1]"), TWO, "t", "ok", DATA),
            '[[1],2,"t","phx_reply",{"status":"ok","response":',
            id="ref that is no text",
        ),
    ],
)
def test_what_fits_no_binary_frame_goes_out_as_json(message: Push | Reply | Broadcast, text: str) -> None:
    ending = "}]" if isinstance(message, Reply) else "]"
    assert sent(v2, message) == Frame(f'{text}{{"base64":"AQL/"}}{ending}'.encode())


@pytest.mark.parametrize(
    "message",
    [Broadcast("t", "e", DATA), Push(ONE, NULL, "t", "e", DATA), Reply(ONE, TWO, "t", "ok", DATA)],
)
@pytest.mark.parametrize("version", [V1(), V2(sends_binary=False)], ids=["v1", "text only"])
def test_whoever_takes_no_binary_gets_json(version: Serializer, message: Push | Reply | Broadcast) -> None:
    frame = sent(version, message)
    assert not frame.binary
    found = json.loads(frame.data)
    payload = found["payload"] if isinstance(version, V1) else found[4]
    answer = payload["response"] if isinstance(message, Reply) else payload
    assert base64.b64decode(answer["base64"]) == DATA


def pushed(join_ref: bytes, ref: bytes, topic: bytes, event: bytes, data: bytes) -> bytes:
    """A push as clients make it."""
    sizes = bytes(map(len, (join_ref, ref, topic, event)))
    return b"\x00" + sizes + join_ref + ref + topic + event + data


def test_a_binary_push_is_a_message_with_bytes() -> None:
    message = v2.decode(bytes.fromhex("00 01 01 07 03") + b"12bench:1bin" + DATA)
    assert (bytes(message.join_ref), bytes(message.ref)) == (b'"1"', b'"2"')
    assert (message.topic, message.event, message.payload) == ("bench:1", "bin", DATA)


FIELD = st.text(max_size=60).map(str.encode)


@given(FIELD, FIELD, FIELD, FIELD, st.binary())
def test_any_push_is_read_field_by_field(
    join_ref: bytes, ref: bytes, topic: bytes, event: bytes, data: bytes
) -> None:
    message = v2.decode(pushed(join_ref, ref, topic, event, data))
    assert msgspec.json.decode(message.join_ref).encode() == join_ref
    assert msgspec.json.decode(message.ref).encode() == ref
    assert (message.topic.encode(), message.event.encode(), message.payload) == (topic, event, data)
    answer = v2.encode(Reply(message.join_ref, message.ref, message.topic, "ok", data)).data
    sizes = bytes(map(len, (join_ref, ref, topic, b"ok")))
    assert answer == b"\x01" + sizes + join_ref + ref + topic + b"ok" + data


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"\x00\x01\x01\x01",
        b"\x00\x00\x00\x05\x00t",
        pushed(b"1", b"2", b"t", b"e", b"")[:-1],
        pushed(b"1", b"2", b"\xff", b"e", b""),
        pushed(b"\xed\xa0\x80", b"2", b"t", b"e", b""),
        b"\x01" + pushed(b"1", b"2", b"t", b"e", b"")[1:],
        b"\x02\x01\x01te",
        b"\x03\x00\x00\x01\x01\x00",
        b"\x03\x00\x00\x01\x01\x00\x01te{",
        b"\x03\x00\x00\x01\x01\x00\x02te{}",
        b"\x03\x00\x00\x01\x01\x09\x01te{}",
        b"\x04\x00\x00\x01\x01te{}",
        b'["1","2","t","e",{}]',
    ],
    ids=repr,
)
def test_a_malformed_binary_frame_is_undecodable(frame: bytes) -> None:
    with pytest.raises(UndecodableFrame):
        v2.decode(frame)


@pytest.mark.parametrize(
    ("data", "payload"),
    [(b'\x01m{"x":[1]}', {"x": [1]}), (b"\x00m" + DATA, {"base64": "AQL/"})],
    ids=["json", "bytes"],
)
def test_what_supabases_client_sends_to_members_is_what_it_says_in_text(
    data: bytes, payload: dict[str, Any]
) -> None:
    encoding, rest = data[:1], data[2:]
    message = v2.decode(b"\x03\x01\x02\x03\x06\x01" + encoding + b"712r:1cursorm" + rest)
    assert (bytes(message.join_ref), bytes(message.ref)) == (b'"7"', b'"12"')
    assert (message.topic, message.event) == ("r:1", "broadcast")
    whole = {"type": "broadcast", "event": "cursor", "payload": payload}
    assert msgspec.json.decode(message.payload) == whole


@given(st.binary(max_size=40))
def test_no_bytes_do_any_harm(frame: bytes) -> None:
    with contextlib.suppress(UndecodableFrame):
        v2.decode(frame)


def test_version_one_has_no_binary() -> None:
    with pytest.raises(UndecodableFrame):
        v1.decode(pushed(b"1", b"2", b"t", b"e", b""))


@pytest.mark.parametrize("payload", ['"YWJj"', "null", "[1]", "5"])
def test_a_payload_stays_what_it_is(payload: str) -> None:
    for message in (
        v2.decode(f'["1","2","t","e",{payload}]'),
        v1.decode(f'{{"topic":"t","event":"e","ref":null,"payload":{payload}}}'),
    ):
        assert isinstance(message.payload, msgspec.Raw)
        assert bytes(message.payload).decode() == payload


def test_an_object_may_lack_its_join_ref_and_hold_more() -> None:
    message = v1.decode('{"ref":"1","more":[1],"topic":"t","event":"phx_join","payload":{}}')
    assert (bytes(message.join_ref), bytes(message.ref), message.topic) == (b"null", b'"1"', "t")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '[null,"1","t","e",{}]',
        '{"event":"e","payload":{},"ref":"1"}',
        '{"topic":"t","payload":{},"ref":"1"}',
        '{"topic":"t","event":"e","ref":"1"}',
        '{"topic":"t","event":"e","payload":{}}',
        '{"topic":"t","event":"e","payload":NaN,"ref":"1"}',
        '{"topic":"t","event":"e","payload":' + "[" * 60_000,
    ],
    ids=lambda text: text[:48] or "nothing",
)
def test_anything_else_is_undecodable_in_version_one(text: str) -> None:
    with pytest.raises(UndecodableFrame):
        v1.decode(text)


@pytest.mark.parametrize(
    ("vsn", "spoken"),
    [
        ("2.0.0", V2),
        ("2.0.17", V2),
        ("2.0", None),
        ("2", None),
        ("2.1.0", None),
        ("3.0.0", None),
        ("2.0.0x", None),
        ("2.0.01", None),
        ("1.0.0", V1),
        ("1.0.3", V1),
        ("1.1.0", None),
        ("1", None),
        ("", None),
        (None, V1),
    ],
)
def test_versions(vsn: str | None, spoken: type[V1 | V2] | None) -> None:
    for binary in (True, False):
        assert type(for_version(vsn, binary=binary)) is (spoken or type(None))
