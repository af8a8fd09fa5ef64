# Made from crown/client/live.py by tools/sync_client.py: change that one.
"""Open sockets: what goes to them, who is there, and closing them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from crown.client.sync.calls import Calls
from crown.notification.v1 import realtime_service_pb2 as pb
from crown.notification.v1.realtime_service_pb2_grpc import RealtimeServiceStub


class Live:
    """The sockets of people and groups."""

    def __init__(self, channel: grpc.Channel, calls: Calls) -> None:
        self._stub = RealtimeServiceStub(channel)
        self._calls = calls

    def publish(self, topic: str, event: str, payload: Mapping[str, Any], *, ephemeral: bool = False) -> int:
        """Sends an event to the sockets on `user:<id>`, `group:<id>` or `chat:<id>`, and answers its offset; 0
        where it is ephemeral. Not tried again where it may have happened: it would be seen twice."""
        request = pb.PublishRequest(
            topic=topic, event=event, payload=ParseDict(dict(payload), Struct()), ephemeral=ephemeral
        )
        return self._calls.unary(self._stub.Publish, request, repeatable=False).offset

    def subscribe(
        self, user_id: str, *, since: int = 0, epoch: str = ""
    ) -> Generator[pb.SubscribeResponse, None, None]:
        """What arrives for a person from now on; with the offset and epoch of the last event also what was missed.
        Raises Unavailable or OutcomeUnknown when it breaks off, as every long stream does now and then."""
        request = pb.SubscribeRequest(user_id=user_id, since=since, epoch=epoch)
        return self._calls.stream(self._stub.Subscribe, request)

    def presence(self, user_ids: Iterable[str]) -> Sequence[pb.Presence]:
        """Who of up to 1,000 people is there, in order."""
        request = pb.GetPresenceRequest(user_ids=list(user_ids))
        return self._calls.unary(self._stub.GetPresence, request).people

    def on_topic(self, topic: str) -> pb.GetPresenceResponse:
        """Who is on `group:<id>` or `chat:<id>`, the first 500, and how many in all."""
        return self._calls.unary(self._stub.GetPresence, pb.GetPresenceRequest(topic=topic))

    def disconnect(self, user_id: str, *, session_id: str = "", keep_tokens: bool = False) -> None:
        """Closes a person's sockets, or those of one session, and refuses their tokens unless `keep_tokens`. Made
        again where an answer got lost: twice is once, for whoever has not come back meanwhile."""
        request = pb.DisconnectRequest(user_id=user_id, session_id=session_id, keep_tokens=keep_tokens)
        self._calls.unary(self._stub.Disconnect, request)

    def revoke_tokens(self, *, service_id: str = "", operator_id: str = "") -> None:
        """Refuses the tokens of a service or operator that were issued before now, everywhere. Made again where an
        answer got lost: twice is once, for whoever has got no new ones meanwhile."""
        request = pb.RevokeTokensRequest(service_id=service_id, operator_id=operator_id)
        self._calls.unary(self._stub.RevokeTokens, request)
