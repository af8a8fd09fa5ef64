"""Bodies that are not what they should be: a clear answer in the one shape, and nothing accepted."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.e2e.contract import RPCS, Rpc
from tests.e2e.people import People, data
from tests.e2e.rest import BULK, NOTIFICATIONS, Caller, Rest

GOOD = {"type": "in_app", "user_id": "heron", "data": {"title": "Heron"}}
GOOD_TEXT = json.dumps(GOOD).encode()
SINGLE_LIMIT_BYTES = 256 << 10
BULK_LIMIT_BYTES = 4 << 20


def with_field(text: str) -> bytes:
    """A good body with one more field, written as given."""
    return GOOD_TEXT[:-1] + b", " + text.encode() + b"}"


def with_title(raw: bytes) -> bytes:
    """A good body whose title is these bytes between quotes."""
    return GOOD_TEXT.replace(b'"Heron"', b'"' + raw + b'"')


# -- what is no JSON object

DOCUMENTS = {
    "empty": b"", "blank": b" ", "open": b"{", "list": b"[]", "null": b"null", "text": b'"x"', "number": b"1",
    "true": b"true", "trailing garbage": GOOD_TEXT + b"x", "two documents": GOOD_TEXT + GOOD_TEXT,
    "byte order mark": b"\xef\xbb\xbf" + GOOD_TEXT, "utf-16": GOOD_TEXT.decode().encode("utf-16"),
    "comment": b"/* */" + GOOD_TEXT, "form": b"type=push&user_id=heron", "xml": b"<notification/>",
    "comma": b"{,}", "no value": b'{"type":}', "no colon": b'{"type" "push"}', "zeros": b"\0" * 10,
    "list of one": b"[" + GOOD_TEXT + b"]",
}  # fmt: skip


@pytest.mark.parametrize("body", DOCUMENTS.values(), ids=DOCUMENTS)
@pytest.mark.parametrize("path", [NOTIFICATIONS, BULK], ids=["single", "bulk"])
async def test_no_object(feed: Caller, path: str, body: bytes) -> None:
    answer = await feed.post(path, body)
    assert (answer.status, answer.problem.code) == (400, 3)


# -- wrong types, for every field of every body of the contract

SAMPLES: list[Any] = ["no such value", 7, 1.5, True, [], {}, [{}], [True]]
_SCALARS = {
    FieldDescriptor.TYPE_STRING: (str,),
    FieldDescriptor.TYPE_BOOL: (bool,),
    FieldDescriptor.TYPE_ENUM: (str, int),
    FieldDescriptor.TYPE_INT32: (int,),
    FieldDescriptor.TYPE_UINT32: (int,),
}


def takes(field: FieldDescriptor, value: object) -> bool:
    """Whether JSON has a reading of `value` for the field; rules may refuse it all the same."""
    if is_map(field):
        return isinstance(value, dict)
    if field.is_repeated:
        # One value stands for a list of one, and lists in it are flattened: so the gateway reads it.
        values = value if isinstance(value, list) else [value]
        return all(isinstance(one, list) or takes_one(field, one) for one in values)
    return takes_one(field, value)


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def takes_one(field: FieldDescriptor, value: object) -> bool:
    message = field.message_type
    if message is None:
        accepted = _SCALARS[field.type]
        return isinstance(value, accepted) and (bool in accepted or not isinstance(value, bool))
    if message.full_name == "google.protobuf.Value":
        return True
    if message.full_name == "google.protobuf.ListValue":
        return isinstance(value, list | dict)
    if message.full_name == "google.protobuf.Timestamp":
        # Written as a message, it is read as one.
        return isinstance(value, str | dict)
    return isinstance(value, dict)


def fields(
    message: Descriptor, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldDescriptor]]:
    """Every field below `message`, with the way to it; what is in a list has a [] after the list's name."""
    for field in message.fields:
        here = (*above, field.name)
        yield here, field
        inner = field.message_type
        if inner is not None and inner.file.package == "crown.notification.v1" and not is_map(field):
            yield from fields(inner, (*above, f"{field.name}[]") if field.is_repeated else here)


def body_of(rpc: Rpc) -> Descriptor | None:
    """The message that the body of the RPC's REST call is; None where there is none."""
    if rpc.body == "*":
        return rpc.method.input_type
    return rpc.method.input_type.fields_by_name[rpc.body].message_type if rpc.body else None


def nested(path: tuple[str, ...], value: object) -> object:
    for name in reversed(path):
        value = {name.removesuffix("[]"): [value] if name.endswith("[]") else value}
    return value


def is_raw(rpc: Rpc) -> bool:
    """Whether the RPC takes any bytes as they come, and looks at them itself."""
    message = body_of(rpc)
    return message is not None and message.full_name == "google.api.HttpBody"


WITH_BODY = [rpc for rpc in RPCS if rpc.body and not is_raw(rpc)]


@pytest.mark.parametrize("rpc", WITH_BODY, ids=lambda rpc: rpc.name)
async def test_wrong_types(feed: Caller, rpc: Rpc) -> None:
    verb, path = next(rpc.paths("heron"))
    message = body_of(rpc)
    assert message is not None
    tried = 0
    for where, field in fields(message):
        for value in SAMPLES:
            if not takes(field, value):
                answer = await feed.request(verb, path, nested(where, value))
                assert (answer.status, answer.problem.code) == (400, 3), (where, value)
                problem = answer.problem
                # Of a list where none belongs the gateway tells no name.
                named = where[-1] in f"{problem.message}{problem.violations}"
                assert named or isinstance(value, list), (where, value, problem)
                tried += 1
    assert tried


# -- numbers

REFUSED_NUMBERS = [
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "1.5",
    "9" * 5000,
    "2147483648",
    "77",
    "-1",
    "0x1",
    "01",
]


@pytest.mark.parametrize("text", REFUSED_NUMBERS, ids=lambda text: text[:12])
async def test_numbers_that_are_none(feed: Caller, text: str) -> None:
    answer = await feed.try_send(with_field(f'"priority": {text}'))
    assert (answer.status, answer.problem.code) == (400, 3)


@pytest.mark.parametrize("text", ["0", "-0", "1", "1.0", "1e0", '"1"', "null"])
async def test_numbers_that_are_read(feed: Caller, text: str) -> None:
    assert (await feed.try_send(with_field(f'"priority": {text}'))).status == 200


@pytest.mark.parametrize("text", ["1e999", "NaN", "9" * 5000])
async def test_free_form_numbers_that_are_none(feed: Caller, text: str) -> None:
    body = GOOD_TEXT.replace(b'"Heron"', f'"Heron", "extra": {{"n": {text}}}'.encode())
    assert (await feed.try_send(body)).problem.code == 3


# -- text

BAD_TEXT = {
    "latin-1": b"\xe9", "overlong": b"\xc0\xaf", "surrogate bytes": b"\xed\xa0\x80", "beyond": b"\xf4\x90\x80\x80",
    "continuation": b"\x80", "cut": b"\xe2\x82", "lone high": b"\\ud800", "lone low": b"\\udc00",
    "wrong order": b"\\udc00\\ud800", "half escape": b"\\u12", "nul": b"\\u0000",
    "raw nul": b"\0", "line separator": b"\\u2028", "paragraph separator": b"\\u2029", "escape": b"\\u001b",
    "delete": b"\\u007f", "next line": b"\\u0085", "line feed": b"\\n", "carriage return": b"\\r",
}  # fmt: skip


@pytest.mark.parametrize("raw", BAD_TEXT.values(), ids=BAD_TEXT)
async def test_text_that_is_none(feed: Caller, raw: bytes) -> None:
    answer = await feed.try_send(with_title(b"a" + raw + b"b"))
    assert (answer.status, answer.problem.code) == (400, 3)


@pytest.mark.parametrize("raw", [b"\xff", b"\\ud800", b"\\u0000", b"\\n"])
@pytest.mark.parametrize("field", ["user_id", "kind", "idempotency_key"])
async def test_ids_that_are_no_text(feed: Caller, field: str, raw: bytes) -> None:
    body = GOOD_TEXT.replace(b'"heron"', b'""')[:-1] + b', "' + field.encode() + b'": "a' + raw + b'b"}'
    assert (await feed.try_send(body)).problem.code == 3


# -- what is given twice


async def test_the_last_of_two_counts(feed: Caller, people: People) -> None:
    first, last = people.stranger(), people.stranger()
    for second_name in ("user_id", "userId"):
        body = with_field(f'"user_id": "{first.user_id}", "{second_name}": "{last.user_id}"')
        found = await feed.settled((await feed.try_send(body)).ok["notification_id"])
        assert {delivery["user_id"] for delivery in found["deliveries"]} == {last.user_id}


async def test_unknown_fields_are_passed_by(feed: Caller) -> None:
    assert (await feed.try_send(with_field('"colour": {"of": ["the", "sky"]}'))).status == 200
    mistyped = {"type": "in_app", "user_idz": "heron", "data": {"title": "Heron"}}
    assert (await feed.try_send(mistyped)).problem.violations.keys() == {"user_id"}


KIND = {
    "single quotes": GOOD_TEXT.replace(b'"', b"'"),
    "comma at the end": GOOD_TEXT[:-1] + b",}",
    "needless escape": GOOD_TEXT.replace(b"Heron", b"H\\eron"),
    "one for a list": with_field('"user_id": "", "user_ids": "heron"'),
    "lists in a list": with_field('"user_id": "", "user_ids": [["heron"]]'),
}


@pytest.mark.parametrize("body", KIND.values(), ids=KIND)
async def test_what_is_read_although_it_is_no_json(feed: Caller, body: bytes) -> None:
    found = await feed.settled((await feed.try_send(body)).ok["notification_id"])
    assert [delivery["user_id"] for delivery in found["deliveries"]] == ["heron"]


# -- enums


@pytest.mark.parametrize("name", ["push", "PUSH", "Push", "REAL_TIME", "real_time", "In_App"])
async def test_names_in_any_case(feed: Caller, name: str) -> None:
    assert (await feed.try_send({**GOOD, "type": name})).status == 200


@pytest.mark.parametrize("name", ["fax", "", " push", "realtime", "CHANNEL.PUSH", "Push ", "\uff30USH"])
async def test_names_that_are_none(feed: Caller, name: str) -> None:
    answer = await feed.try_send({**GOOD, "type": name})
    assert (answer.status, answer.problem.code) == (400, 3)
    assert "type" in answer.problem.message


@pytest.mark.parametrize("number", [6, 77, -1])
async def test_numbers_that_name_nothing(feed: Caller, number: int) -> None:
    answer = await feed.try_send({**GOOD, "type": number})
    assert answer.problem.violations == {"type": "must be one of REAL_TIME, PUSH, EMAIL, SMS, IN_APP"}


# -- depth


def deep(levels: int, opening: str = '{"a":', closing: str = "}") -> bytes:
    inner = opening * (levels - 1) + "1" + closing * (levels - 1)
    return GOOD_TEXT.replace(b'"Heron"', f'"Heron", "extra": {{"a": {inner}}}'.encode())


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")], ids=["objects", "lists"])
@pytest.mark.parametrize("levels", [1, 15, 16])
async def test_deep_enough(feed: Caller, levels: int, opening: str, closing: str) -> None:
    assert (await feed.try_send(deep(levels, opening, closing))).status == 200


@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")], ids=["objects", "lists"])
@pytest.mark.parametrize("levels", [17, 32, 33, 34, 40, 60, 97, 98, 99, 100, 101, 1_000, 30_000])
async def test_too_deep(feed: Caller, levels: int, opening: str, closing: str) -> None:
    answer = await feed.try_send(deep(levels, opening, closing))
    assert (answer.status, answer.problem.code) == (400, 3)


async def test_too_deep_where_nobody_looks(feed: Caller) -> None:
    answer = await feed.try_send(with_field('"colour": ' + "[" * 100_000 + "]" * 100_000))
    assert (answer.status, answer.problem.code) == (400, 3)


# -- size


def padded(size: int) -> bytes:
    """A good body of exactly this many bytes."""
    bare = with_field('"padding": ""')
    return bare.replace(b'"padding": ""', b'"padding": "' + b"x" * (size - len(bare)) + b'"')


@pytest.mark.parametrize("size", [SINGLE_LIMIT_BYTES - 1, SINGLE_LIMIT_BYTES])
async def test_just_small_enough(feed: Caller, size: int) -> None:
    assert (await feed.try_send(padded(size))).status == 200


@pytest.mark.parametrize("size", [SINGLE_LIMIT_BYTES + 1, 2 << 20, 6 << 20])
async def test_too_large(rest: Rest, feed: Caller, size: int) -> None:
    head = (
        f"POST {NOTIFICATIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {feed.token}\r\n"
    )
    body = padded(size)
    whole = f"{head}Content-Length: {size}\r\n\r\n".encode() + body
    pieces = b"".join(
        b"%x\r\n%s\r\n" % (len(p), p) for p in (body[i : i + 65536] for i in range(0, size, 65536))
    )
    chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + pieces + b"0\r\n\r\n"
    for request in (whole, chunked):
        answer = await rest.raw(request)
        assert (answer.status, answer.problem.reason) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_bulk_may_be_larger(feed: Caller) -> None:
    item = {**GOOD, "data": {"title": "Heron", "message": "x" * 4_000}}
    answer = await feed.post(BULK, {"notifications": [item] * 900})
    assert len(answer.ok["results"]) == 900
    assert (await feed.post(BULK, b"x" * (BULK_LIMIT_BYTES + 1))).status == 413


async def test_packed_bodies_are_not_unpacked(feed: Caller) -> None:
    for packed in (gzip.compress(GOOD_TEXT), gzip.compress(b"0" * (10 << 20))):
        answer = await feed.try_send(packed, headers={"Content-Encoding": "gzip"})
        assert (answer.status, answer.problem.code) == (415, 3)


async def test_more_than_was_said_is_another_request(rest: Rest, feed: Caller) -> None:
    head = (
        f"POST {NOTIFICATIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {feed.token}\r\n"
    )
    answer = await rest.raw(f"{head}Content-Length: 5\r\n\r\n".encode() + GOOD_TEXT)
    assert answer.status == 400


async def test_a_caller_that_asks_first(rest: Rest, feed: Caller) -> None:
    reader, writer = await asyncio.open_connection(*rest.address.split(":"))
    head = (
        f"POST {NOTIFICATIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {feed.token}\r\nExpect: 100-continue\r\n"
    )
    try:
        writer.write(f"{head}Content-Length: {len(GOOD_TEXT)}\r\n\r\n".encode())
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            writer.write(GOOD_TEXT)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    finally:
        writer.transport.abort()


async def test_the_good_body_is_good(feed: Caller) -> None:
    assert (await feed.try_send(GOOD_TEXT)).status == 200
    assert (await feed.try_send({**GOOD, "data": data()})).status == 200
