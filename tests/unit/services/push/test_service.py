"""PushService and DeviceService through a real server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from crown import ids
from crown.egress import Egress
from crown.notification.v1 import device_service_pb2, push_service_pb2
from crown.notification.v1.channel_send_pb2 import SendReceipt
from crown.notification.v1.device_service_pb2_grpc import DeviceServiceStub
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.push_service_pb2_grpc import PushServiceStub
from crown.notification.v1.types_pb2 import DeviceKind, Platform
from crown.recipients import Destination, Device
from crown.rendering import Links
from services.push.devices import DeviceService
from services.push.service import PushService

PUSH = push_service_pb2.DESCRIPTOR.services_by_name["PushService"]
DEVICES = device_service_pb2.DESCRIPTOR.services_by_name["DeviceService"]
TOKEN = (("authorization", "Bearer feed"),)
ANN = (("authorization", "Bearer user:ann"),)
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


ENDPOINT = "https://updates.push.example.org/wpush/v2/gAAAA"
EGRESS = Egress.of(["*.push.example.org"])
KEYS = device_service_pb2.WebPushKeys(
    p256dh="BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    auth="BTBZMqHH6r4Tts7J_aSIgg",
)


def fields(error: grpc.aio.AioRpcError) -> set[str]:
    """The fields that a refusal names."""
    status = rpc_status.from_call(error)
    found = BadRequest()
    assert status is not None
    assert any(detail.Unpack(found) for detail in status.details)
    return {violation.field for violation in found.field_violations}


class Direct:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Destination, NotificationData, str, str]] = []

    async def send(self, to: Destination, data: NotificationData, key: str, collapse_key: str) -> SendReceipt:
        self.sent.append((to, data, key, collapse_key))
        return SendReceipt(delivery_id="d1")


class Register:
    """Devices, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Device] = {}

    async def put_device(self, device: Device) -> Device:
        self.kept[device.id] = device
        return device

    async def devices(self, user_id: str) -> list[Device]:
        return [device for device in self.kept.values() if device.user_id == user_id]

    async def delete_device(self, user_id: str, device_id: str) -> None:
        if device_id in self.kept and self.kept[device_id].user_id == user_id:
            del self.kept[device_id]


async def test_it_is_sent(serve: Callable[..., Any], links: Links) -> None:
    direct, data = Direct(), NotificationData(title="Hello")
    async with serve(PUSH, PushService(direct, links)) as channel:  # type: ignore[arg-type]
        request = push_service_pb2.SendPushRequest(
            token="token-1", data=data, idempotency_key="k", collapse_key="score"
        )
        answer = await PushServiceStub(channel).SendPush(request, metadata=TOKEN)
    assert answer.receipt.delivery_id == "d1"
    assert direct.sent == [(Destination(ids.device("token-1"), "token-1"), data, "k", "score")]


async def test_it_is_sent_to_a_browser(serve: Callable[..., Any], links: Links) -> None:
    direct = Direct()
    request = push_service_pb2.SendPushRequest(
        token=ENDPOINT, kind=DeviceKind.WEB_PUSH, web_push=KEYS, data=NotificationData(title="Hello")
    )
    async with serve(PUSH, PushService(direct, links, EGRESS)) as channel:  # type: ignore[arg-type]
        await PushServiceStub(channel).SendPush(request, metadata=TOKEN)
    (sent,) = direct.sent
    assert sent[0] == Destination(
        ids.device(ENDPOINT), ENDPOINT, DeviceKind.WEB_PUSH, p256dh=KEYS.p256dh, auth=KEYS.auth
    )


async def test_it_is_not_sent_anywhere(serve: Callable[..., Any], links: Links) -> None:
    direct = Direct()
    request = push_service_pb2.SendPushRequest(
        token="https://169.254.169.254/latest",
        kind=DeviceKind.WEB_PUSH,
        web_push=KEYS,
        data=NotificationData(title="Hello", action_url="javascript:alert(1)"),
    )
    async with serve(PUSH, PushService(direct, links, EGRESS)) as channel:  # type: ignore[arg-type]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await PushServiceStub(channel).SendPush(request, metadata=TOKEN)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert {"token", "data.action_url"} <= fields(error.value)
    assert direct.sent == []


@pytest.fixture
def register() -> Register:
    return Register()


async def test_a_device(serve: Callable[..., Any], register: Register) -> None:
    servicer = DeviceService(register, clock=lambda: NOW)  # type: ignore[arg-type]
    async with serve(DEVICES, servicer) as channel:
        stub = DeviceServiceStub(channel)
        request = device_service_pb2.RegisterDeviceRequest(user_id="ann", token="t1", platform=Platform.IOS)
        device = (await stub.RegisterDevice(request, metadata=ANN)).device
        assert device.device_id == ids.device("t1")
        assert (device.kind, device.platform) == (DeviceKind.TOKEN, Platform.IOS)
        assert device.create_time.ToDatetime(UTC) == NOW
        # A person of that name sees it, and its token is not told.
        listed = await stub.ListDevices(device_service_pb2.ListDevicesRequest(user_id="ann"), metadata=ANN)
        assert list(listed.devices) == [device]
        assert "t1" not in str(listed)
        gone = device_service_pb2.DeleteDeviceRequest(user_id="ann", device_id=device.device_id)
        for _ in range(2):
            await stub.DeleteDevice(gone, metadata=ANN)
    assert register.kept == {}


async def test_the_same_token_is_the_same_device(serve: Callable[..., Any], register: Register) -> None:
    async with serve(DEVICES, DeviceService(register)) as channel:  # type: ignore[arg-type]
        stub = DeviceServiceStub(channel)
        for user, kind in (("ann", DeviceKind.TOKEN), ("bob", DeviceKind.FID)):
            request = device_service_pb2.RegisterDeviceRequest(user_id=user, token="t1", kind=kind)
            await stub.RegisterDevice(request, metadata=TOKEN)
    (device,) = register.kept.values()
    assert (device.user_id, device.kind) == ("bob", DeviceKind.FID)


@pytest.mark.parametrize("token", ["", "a b", "tökn", "x" * 4_097, "a\n"])
async def test_no_token(serve: Callable[..., Any], register: Register, token: str) -> None:
    async with serve(DEVICES, DeviceService(register)) as channel:  # type: ignore[arg-type]
        request = device_service_pb2.RegisterDeviceRequest(user_id="ann", token=token)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await DeviceServiceStub(channel).RegisterDevice(request, metadata=ANN)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_browser(serve: Callable[..., Any], register: Register) -> None:
    request = device_service_pb2.RegisterDeviceRequest(
        user_id="ann",
        token=ENDPOINT,
        kind=DeviceKind.WEB_PUSH,
        platform=Platform.WEB,
        locale="pt-BR",
        time_zone="America/Sao_Paulo",
        web_push=KEYS,
    )
    async with serve(DEVICES, DeviceService(register, EGRESS)) as channel:  # type: ignore[arg-type]
        told = (await DeviceServiceStub(channel).RegisterDevice(request, metadata=ANN)).device
    assert (told.locale, told.time_zone) == ("pt-BR", "America/Sao_Paulo")
    assert KEYS.auth not in str(told)
    (kept,) = register.kept.values()
    assert (kept.p256dh, kept.auth, kept.locale) == (KEYS.p256dh, KEYS.auth, "pt-BR")


Bad = tuple[dict[str, Any], set[str]]
WEB: dict[str, Any] = {"token": ENDPOINT, "kind": DeviceKind.WEB_PUSH, "web_push": KEYS}
BAD: dict[str, Bad] = {
    "no keys": ({**WEB, "web_push": None}, {"web_push"}),
    "keys of a browser on a token": ({**WEB, "kind": DeviceKind.TOKEN}, {"web_push"}),
    "no endpoint": ({**WEB, "token": "token-1"}, {"token"}),
    "no TLS": ({**WEB, "token": ENDPOINT.replace("https", "http")}, {"token"}),
    "another host": ({**WEB, "token": "https://push.example.org.evil.example/"}, {"token"}),
    "an address": ({**WEB, "token": "https://127.0.0.1/"}, {"token"}),
    "a user": ({**WEB, "token": "https://a:b@updates.push.example.org/"}, {"token"}),
    "a key of another form": (
        {**WEB, "web_push": {"p256dh": "AAAA", "auth": KEYS.auth}}, {"web_push.p256dh"}
    ),
    "a key not on the curve": (
        {**WEB, "web_push": {"p256dh": "BAAA" + "A" * 83, "auth": KEYS.auth}}, {"web_push.p256dh"}
    ),
    "a short secret": ({**WEB, "web_push": {"p256dh": KEYS.p256dh, "auth": "AAAA"}}, {"web_push.auth"}),
    "no zone": ({"token": "t", "time_zone": "Europe/Berln"}, {"time_zone"}),
    "zone by path": ({"token": "t", "time_zone": "../../etc/passwd"}, {"time_zone"}),
    "no language": ({"token": "t", "locale": "English"}, {"locale"}),
    "no kind": ({"token": "t", "kind": 9}, {"kind"}),
    "no platform": ({"token": "t", "platform": 9}, {"platform"}),
}  # fmt: skip


@pytest.mark.parametrize(("given", "named"), BAD.values(), ids=BAD)
async def test_no_device(
    serve: Callable[..., Any], register: Register, given: dict[str, Any], named: set[str]
) -> None:
    async with serve(DEVICES, DeviceService(register, EGRESS)) as channel:  # type: ignore[arg-type]
        request = device_service_pb2.RegisterDeviceRequest(user_id="ann", **given)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await DeviceServiceStub(channel).RegisterDevice(request, metadata=ANN)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert fields(error.value) == named
    assert register.kept == {}


async def test_no_browser_registers_where_nobody_could_send_to_it(
    serve: Callable[..., Any], register: Register
) -> None:
    async with serve(DEVICES, DeviceService(register)) as channel:  # type: ignore[arg-type]
        request = device_service_pb2.RegisterDeviceRequest(user_id="ann", **WEB)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await DeviceServiceStub(channel).RegisterDevice(request, metadata=ANN)
    assert fields(error.value) == {"kind"}


async def test_somebody_elses(serve: Callable[..., Any], register: Register) -> None:
    async with serve(DEVICES, DeviceService(register)) as channel:  # type: ignore[arg-type]
        request = device_service_pb2.ListDevicesRequest(user_id="bob")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await DeviceServiceStub(channel).ListDevices(request, metadata=ANN)
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
