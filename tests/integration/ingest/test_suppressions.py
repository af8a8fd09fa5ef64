"""SuppressionService on a real store: what is on the list, by pages, and never an address."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from crown.auth import Principal, set_caller
from crown.errors import InvalidRequest, NotFound
from crown.notification.v1 import suppression_service_pb2 as pb
from crown.notification.v1.suppression_service_pb2_grpc import SuppressionServiceStub
from crown.notification.v1.types_pb2 import Channel, SuppressionReason
from crown.suppressions import Suppressions
from services.ingest.suppressions import SuppressionService
from tests.integration.local import Local
from tests.integration.rig import Rig

OPERATOR = Principal("operator", "olga", frozenset(), 0.0)


@pytest.fixture
async def service(local: Local) -> SuppressionService:
    await local.db.suppressions.delete_many({})
    set_caller(OPERATOR)
    return SuppressionService(Suppressions(local.db, local.data_key))


async def create(
    service: SuppressionService,
    address: str,
    channel: Channel.Type.ValueType = Channel.EMAIL,
    reason: int = 0,
) -> pb.Suppression:
    request = pb.CreateSuppressionRequest(channel=channel, address=address, reason=reason)  # type: ignore[arg-type]
    return (await service.CreateSuppression(request, None)).suppression


async def look_up(service: SuppressionService, address: str) -> pb.Suppression:
    request = pb.LookUpSuppressionRequest(channel=Channel.EMAIL, address=address)
    return (await service.LookUpSuppression(request, None)).suppression


async def test_in_and_out_again(local: Local, service: SuppressionService) -> None:
    made = await create(service, "Ann@Example.org")
    assert (made.channel, made.reason, made.source) == (
        Channel.EMAIL,
        SuppressionReason.MANUAL,
        "operator:olga",
    )
    # In whatever case it is written, and for the first reason.
    assert await look_up(service, "ann@EXAMPLE.org") == made
    assert await create(service, "ann@example.org", reason=SuppressionReason.COMPLAINT) == made
    (row,) = [row async for row in local.db.suppressions.find()]
    assert "example" not in str(row).lower()
    for _ in range(2):
        await service.DeleteSuppression(pb.DeleteSuppressionRequest(suppression_id=made.suppression_id), None)
    with pytest.raises(NotFound):
        await look_up(service, "ann@example.org")


async def test_an_address_on_one_channel_only(service: SuppressionService) -> None:
    mail, text = await create(service, "ann@example.org"), await create(service, "+14155550123", Channel.SMS)
    assert mail.suppression_id != text.suppression_id
    request = pb.LookUpSuppressionRequest(channel=Channel.SMS, address="+14155550123")
    assert (await service.LookUpSuppression(request, None)).suppression == text


async def test_by_pages_newest_first_and_by_reason(local: Local, service: SuppressionService) -> None:
    # At the same time as well: many come in one callback.
    await asyncio.gather(*(create(service, f"a{n}@example.org") for n in range(7)))
    await create(service, "last@example.org", reason=SuppressionReason.BOUNCE)
    moment = (await local.db.suppressions.find_one() or {})["create_time"]
    await local.db.suppressions.update_many(
        {"reason": SuppressionReason.MANUAL}, {"$set": {"create_time": moment}}
    )
    seen: list[str] = []
    cursor, pages = "", 0
    while pages == 0 or cursor:
        page = await service.ListSuppressions(pb.ListSuppressionsRequest(limit=3, cursor=cursor), None)
        seen += [one.suppression_id for one in page.suppressions]
        cursor, pages = page.next_cursor, pages + 1
    assert (len(seen), len(set(seen)), pages) == (8, 8, 3)
    bounced = pb.ListSuppressionsRequest(reason=SuppressionReason.BOUNCE, channel=Channel.EMAIL)
    (one,) = (await service.ListSuppressions(bounced, None)).suppressions
    assert one.suppression_id == seen[0]
    assert not (
        await service.ListSuppressions(pb.ListSuppressionsRequest(channel=Channel.SMS), None)
    ).suppressions


@pytest.mark.parametrize("cursor", ["x", "=", "AAAA", "MTIz", "OTk5OTk5OTk5OTk5OTk5OTk5OTk6YQ=="])
async def test_a_made_up_cursor(service: SuppressionService, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        await service.ListSuppressions(pb.ListSuppressionsRequest(cursor=cursor), None)


async def test_who_may_and_what_is_refused_at_the_door(rig: Rig) -> None:
    async with rig.running("api") as api:
        stub = SuppressionServiceStub(api.channel)

        async def refused(token: str, request: pb.CreateSuppressionRequest) -> tuple[grpc.StatusCode, str]:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.CreateSuppression(request, metadata=(("authorization", f"Bearer {token}"),))
            return error.value.code(), error.value.details() or ""

        good = pb.CreateSuppressionRequest(channel=Channel.EMAIL, address="hush@example.org")
        may = rig.token(service="feed")
        for token in (rig.token(user="user1"), rig.token(service="feed", scopes=("notifications.send",))):
            assert (await refused(token, good))[0] == grpc.StatusCode.PERMISSION_DENIED
        bad = pb.CreateSuppressionRequest(channel=Channel.SMS, address="hush@example.org")
        code, why = await refused(may, bad)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert why.startswith("address: must be a phone number")
        code, why = await refused(may, pb.CreateSuppressionRequest(channel=Channel.PUSH, address="token"))
        assert (code, why.partition(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "channel")
        made = await stub.CreateSuppression(good, metadata=(("authorization", f"Bearer {may}"),))
        assert made.suppression.source == "service:feed"
        assert "hush" not in api.log()
