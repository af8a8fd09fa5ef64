"""SuppressionService: the addresses that nothing is sent to, for who runs the suite. Addresses come in and never go
out."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from crown import addresses, logs, suppressions
from crown.auth import caller
from crown.clock import timestamp
from crown.errors import InvalidRequest, NotFound, Violation
from crown.notification.v1 import suppression_service_pb2 as pb
from crown.notification.v1.types_pb2 import Channel, SuppressionReason
from crown.store import Document
from crown.suppressions import Suppressions

log = logs.get(__name__)

LIMIT = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_Addressed = pb.LookUpSuppressionRequest | pb.CreateSuppressionRequest


class SuppressionService:
    """The servicer."""

    def __init__(self, suppressions: Suppressions) -> None:
        self._suppressions = suppressions

    def checks(self) -> Mapping[str, Callable[[Any], Sequence[Violation]]]:
        """What the door checks beside the rules in the protos, by method."""
        return {"LookUpSuppression": _problems, "CreateSuppression": _problems}

    async def ListSuppressions(
        self, request: pb.ListSuppressionsRequest, _context: Any
    ) -> pb.ListSuppressionsResponse:
        """One page."""
        limit = request.limit if request.HasField("limit") else LIMIT
        found = await self._suppressions.listed(_where(request), limit + 1)
        return pb.ListSuppressionsResponse(
            suppressions=[_told(one) for one in found[:limit]],
            next_cursor=_cursor(found[limit - 1]) if len(found) > limit else "",
        )

    async def LookUpSuppression(
        self, request: pb.LookUpSuppressionRequest, _context: Any
    ) -> pb.LookUpSuppressionResponse:
        """Whether an address is on the list."""
        address = _normal(request)
        found = await self._suppressions.among(request.channel, [address])
        if address not in found:
            raise NotFound("this address is not suppressed")
        return pb.LookUpSuppressionResponse(suppression=_told(found[address]))

    async def CreateSuppression(
        self, request: pb.CreateSuppressionRequest, _context: Any
    ) -> pb.CreateSuppressionResponse:
        """Puts an address on the list."""
        who = caller()
        found = await self._suppressions.add(
            request.channel,
            _normal(request),
            request.reason or SuppressionReason.MANUAL,
            f"{who.use}:{who.subject}",
        )
        log.info("suppression_created", suppression_id=found.id, source=found.source)
        return pb.CreateSuppressionResponse(suppression=_told(found))

    async def DeleteSuppression(
        self, request: pb.DeleteSuppressionRequest, _context: Any
    ) -> pb.DeleteSuppressionResponse:
        """Takes an address off the list."""
        await self._suppressions.end(request.suppression_id)
        log.info("suppression_ended", suppression_id=request.suppression_id, by=caller().subject)
        return pb.DeleteSuppressionResponse()


def _checked(request: _Addressed) -> str | Violation:
    """The normal form of the address, in which it is suppressed."""
    check = addresses.email if request.channel == Channel.EMAIL else addresses.phone
    return check(request.address, "address")


def _problems(request: _Addressed) -> list[Violation]:
    if request.channel not in {Channel.EMAIL, Channel.SMS}:
        return []  # nobody can tell what the address should be; the channel is refused
    found = _checked(request)
    return [found] if isinstance(found, Violation) else []


def _normal(request: _Addressed) -> str:
    found = _checked(request)
    assert isinstance(found, str)  # the door has let it in
    return found


def _told(one: suppressions.Suppression) -> pb.Suppression:
    return pb.Suppression(
        suppression_id=one.id,
        channel=one.channel,
        reason=one.reason,
        source=one.source,
        create_time=timestamp(one.create_time),
    )


def _where(request: pb.ListSuppressionsRequest) -> Document:
    """A filter for what is listed. Raises InvalidRequest for a cursor that is not ours."""
    where: Document = _after(request.cursor) if request.cursor else {}
    if request.channel:
        where["channel"] = request.channel
    if request.reason:
        where["reason"] = request.reason
    return where


def _cursor(one: suppressions.Suppression) -> str:
    """The place after `one`, opaque to callers."""
    millis = (one.create_time - _EPOCH) // _MILLISECOND
    return base64.urlsafe_b64encode(f"{millis}:{one.id}".encode()).decode()


def _after(cursor: str) -> Document:
    """A filter for what comes after the place that `cursor` names. Raises InvalidRequest."""
    try:
        millis, _, last = base64.b64decode(cursor.encode(), b"-_", validate=True).decode().partition(":")
        moment = _EPOCH + _MILLISECOND * int(millis)
    except (ValueError, OverflowError):
        last = ""
    if not last:
        violation = Violation("cursor", "must be a next_cursor of an earlier answer", "page")
        raise InvalidRequest.of([violation]) from None
    return {"$or": [{"create_time": {"$lt": moment}}, {"create_time": moment, "_id": {"$lt": last}}]}
