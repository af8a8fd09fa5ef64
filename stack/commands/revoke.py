"""`crown revoke`: has the tokens of a person, a service or an operator refused from now on."""

from __future__ import annotations

import grpc

from crown.client.calls import Calls
from crown.notification.v1 import realtime_service_pb2 as pb
from crown.notification.v1.realtime_service_pb2_grpc import RealtimeServiceStub
from stack.commands import gateway
from stack.control import Stack
from stack.errors import StackError


def main(stack: Stack, user: str, session: str, service: str, operator: str) -> None:
    """Prints whose. Raises StackError where not exactly one is named, or it was not done."""
    named = [name for name in (user, service, operator) if name]
    if len(named) != 1 or (session and not user):
        raise StackError("name one of: --user (and --session of theirs), --service, --operator")
    gateway.address(stack)

    async def ask(channel: grpc.aio.Channel, calls: Calls) -> None:
        stub = RealtimeServiceStub(channel)
        if user:
            await calls.unary(stub.Disconnect, pb.DisconnectRequest(user_id=user, session_id=session))
        else:
            request = pb.RevokeTokensRequest(service_id=service, operator_id=operator)
            await calls.unary(stub.RevokeTokens, request)

    gateway.ask(stack, stack.token(operator="revoke", ttl_s=600), ask)
    print(f"Tokens of {named[0]} that were issued before now are refused.")
