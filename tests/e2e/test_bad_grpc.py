"""What gRPC clients can send that is no message, too large, or late."""

from __future__ import annotations

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from crown.notification.v1.inbox_service_pb2 import ListNotificationsRequest
from crown.notification.v1.ingest_service_pb2 import SendBulkNotificationsRequest, SendNotificationRequest
from tests.e2e.answers import LEAK
from tests.e2e.remarks import details, violations
from tests.e2e.rest import Caller

SEND = "/crown.notification.v1.IngestService/SendNotification"
BULK = "/crown.notification.v1.IngestService/SendBulkNotifications"
LIST = "/crown.notification.v1.InboxService/ListNotifications"
Codes = grpc.StatusCode


async def call(
    channel: grpc.aio.Channel,
    caller: Caller,
    body: bytes,
    path: str = SEND,
    timeout_s: float = 10.0,
    metadata: tuple[tuple[str, str | bytes], ...] = (),
) -> grpc.aio.AioRpcError | bytes:
    """The answer to these bytes, or the error."""
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    try:
        return await method(body, metadata=(*caller.metadata, *metadata), timeout=timeout_s)
    except grpc.aio.AioRpcError as caught:
        error = caught
    assert not LEAK.search(error.details() or ""), error
    # A stream that the transport ends is told as INTERNAL by the client itself.
    assert error.code() is not Codes.UNKNOWN, error
    assert error.code() is not Codes.INTERNAL or "RST_STREAM" in (error.details() or ""), error
    return error


def good() -> SendNotificationRequest:
    request = SendNotificationRequest(user_id="heron", type="IN_APP")  # type: ignore[arg-type]
    request.data.title = "Heron"
    return request


def deep(levels: int) -> bytes:
    """A good request whose free-form part nests so deep, made by hand since protobuf refuses to."""
    value = b"\x11" + b"\0" * 8  # number_value
    for _ in range(levels):
        entry = b"\x0a\x01a\x12" + varint(len(value)) + value  # a map entry: "a" -> value
        struct = b"\x0a" + varint(len(entry)) + entry
        value = b"\x2a" + varint(len(struct)) + struct  # struct_value
    data = good().data.SerializeToString() + b"\x2a" + varint(len(struct)) + struct
    bare = good()
    bare.ClearField("data")
    return bare.SerializeToString() + b"\x2a" + varint(len(data)) + data


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def padded(size: int) -> bytes:
    """A message of exactly this many bytes, all of them in a field that nobody knows."""
    head = 2 + len(varint(size))
    return b"\xfa\x3f" + varint(size - head) + b"x" * (size - head)


BROKEN = {
    "garbage": b"\xff" * 20,
    "text": b'{"type": "push"}',
    "cut": good().SerializeToString()[:-3],
    "endless": b"\x1a\xff\xff\xff\xff\x0f",
    "wrong wire type": b"\x18\x01\x28\x01",
    "bad UTF-8": b"\x1a\x02\xff\xfe",
    "surrogates": b"\x1a\x03\xed\xa0\x80",
    "group": b"\x1b\x1c",
    "field zero": b"\x00\x01",
    "deep 33": deep(33),
    "deep 100": deep(100),
    "deep 1000": deep(1000),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_message(channel: grpc.aio.Channel, feed: Caller, body: bytes) -> None:
    error = await call(channel, feed, body)
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is Codes.INVALID_ARGUMENT
    assert details(error)[ErrorInfo].reason in {"UNDECODABLE", "INVALID_REQUEST"}


async def test_depth_that_does(channel: grpc.aio.Channel, feed: Caller) -> None:
    assert isinstance(await call(channel, feed, deep(16)), bytes)
    error = await call(channel, feed, deep(17))
    assert isinstance(error, grpc.aio.AioRpcError)
    assert violations(error).keys() == {"data.extra"}


async def test_fields_of_a_later_version(channel: grpc.aio.Channel, feed: Caller) -> None:
    assert isinstance(await call(channel, feed, good().SerializeToString() + b"\xfa\x3f\x03abc"), bytes)


@pytest.mark.parametrize("count", [10_001, 100_000])
async def test_too_many_people(channel: grpc.aio.Channel, feed: Caller, count: int) -> None:
    request = good()
    request.user_id = ""
    request.user_ids.extend(f"u{number}" for number in range(count))
    error = await call(channel, feed, request.SerializeToString())
    assert isinstance(error, grpc.aio.AioRpcError)
    # As many as that are too large as well, which is seen first.
    wanted = Codes.INVALID_ARGUMENT if count == 10_001 else Codes.RESOURCE_EXHAUSTED
    assert error.code() is wanted


@pytest.mark.parametrize(
    ("path", "size"), [(SEND, (256 << 10) + 1), (BULK, (4 << 20) + 1), (SEND, 5_000_000)]
)
async def test_too_large(channel: grpc.aio.Channel, feed: Caller, path: str, size: int) -> None:
    error = await call(channel, feed, padded(size), path)
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is Codes.RESOURCE_EXHAUSTED
    assert details(error)[ErrorInfo].reason == "PAYLOAD_TOO_LARGE"


async def test_larger_than_the_server_reads(channel: grpc.aio.Channel, feed: Caller) -> None:
    error = await call(channel, feed, b"x" * (6 << 20))
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is Codes.RESOURCE_EXHAUSTED


async def test_large_metadata(channel: grpc.aio.Channel, feed: Caller) -> None:
    error = await call(channel, feed, good().SerializeToString(), metadata=(("x-large", "x" * 32_768),))
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() in (Codes.RESOURCE_EXHAUSTED, Codes.INTERNAL)


async def test_binary_metadata(channel: grpc.aio.Channel, feed: Caller) -> None:
    metadata = (("x-odd-bin", bytes(range(256))),)
    assert isinstance(await call(channel, feed, good().SerializeToString(), metadata=metadata), bytes)


@pytest.mark.parametrize("timeout_s", [0.0, 0.000001])
async def test_no_time(channel: grpc.aio.Channel, feed: Caller, timeout_s: float) -> None:
    error = await call(channel, feed, good().SerializeToString(), timeout_s=timeout_s)
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is Codes.DEADLINE_EXCEEDED


async def test_all_the_time(channel: grpc.aio.Channel, feed: Caller) -> None:
    assert isinstance(await call(channel, feed, good().SerializeToString(), timeout_s=99_999_999), bytes)


@pytest.mark.parametrize(
    "path",
    [
        "/crown.notification.v1.IngestService/Nothing",
        "/crown.notification.v1.Nothing/Send",
        "/nothing",
        "/a/b/c",
    ],
)
async def test_unknown_methods(channel: grpc.aio.Channel, feed: Caller, path: str) -> None:
    error = await call(channel, feed, b"", path)
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() in (Codes.UNIMPLEMENTED, Codes.NOT_FOUND)


async def test_the_wrong_message(channel: grpc.aio.Channel, feed: Caller) -> None:
    error = await call(channel, feed, ListNotificationsRequest(user_id="heron", page=1).SerializeToString())
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is Codes.INVALID_ARGUMENT


async def test_a_bulk_of_nothing(channel: grpc.aio.Channel, feed: Caller) -> None:
    error = await call(channel, feed, SendBulkNotificationsRequest().SerializeToString(), BULK)
    assert isinstance(error, grpc.aio.AioRpcError)
    assert violations(error).keys() == {"notifications"}


@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Deflate, grpc.Compression.Gzip]
)
async def test_packed_messages(
    channel: grpc.aio.Channel, feed: Caller, compression: grpc.Compression
) -> None:
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SEND)
    request = good().SerializeToString()
    assert await method(request, metadata=feed.metadata, timeout=10, compression=compression)
