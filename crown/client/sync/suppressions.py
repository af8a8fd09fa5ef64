# Made from crown/client/suppressions.py by tools/sync_client.py: change that one.
"""Addresses that nothing is sent to any more."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from crown.client.sync.calls import Calls
from crown.errors import NotFound
from crown.notification.v1 import suppression_service_pb2 as pb
from crown.notification.v1.suppression_service_pb2_grpc import SuppressionServiceStub
from crown.notification.v1.types_pb2 import Channel, SuppressionReason


class Suppressions:
    """Suppressions of e-mail addresses (Channel.EMAIL) and phone numbers (Channel.SMS). Everything here is made
    again where an answer got lost."""

    def __init__(self, channel: grpc.Channel, calls: Calls) -> None:
        self._stub = SuppressionServiceStub(channel)
        self._calls = calls

    def all(
        self,
        *,
        channel: Channel.Type.ValueType = Channel.CHANNEL_UNSPECIFIED,
        reason: SuppressionReason.Type.ValueType = SuppressionReason.REASON_UNSPECIFIED,
    ) -> Iterator[pb.Suppression]:
        """Those that fit, the newest first."""
        request = pb.ListSuppressionsRequest(channel=channel, reason=reason, limit=500)
        while True:
            page = self._calls.unary(self._stub.ListSuppressions, request)
            yield from page.suppressions
            if not page.next_cursor:
                return
            request.cursor = page.next_cursor

    def look_up(self, channel: Channel.Type.ValueType, address: str) -> pb.Suppression | None:
        """The suppression of an address; None where there is none."""
        request = pb.LookUpSuppressionRequest(channel=channel, address=address)
        try:
            return self._calls.unary(self._stub.LookUpSuppression, request).suppression
        except NotFound:
            return None

    def create(
        self,
        channel: Channel.Type.ValueType,
        address: str,
        *,
        reason: SuppressionReason.Type.ValueType = SuppressionReason.REASON_UNSPECIFIED,
    ) -> pb.Suppression:
        """Suppresses an address; one that is suppressed stays so for its first reason."""
        request = pb.CreateSuppressionRequest(channel=channel, address=address, reason=reason)
        return self._calls.unary(self._stub.CreateSuppression, request).suppression

    def delete(self, suppression_id: str) -> None:
        """Ends a suppression; one that is not there has ended already."""
        request = pb.DeleteSuppressionRequest(suppression_id=suppression_id)
        self._calls.unary(self._stub.DeleteSuppression, request)
