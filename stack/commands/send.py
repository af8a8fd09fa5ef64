"""`crown send`: one notification, as a service would send it, and its story until everything is final."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError

from crown.notification.v1 import ingest_service_pb2 as pb
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.types_pb2 import NotificationStatus
from stack.commands import gateway, story
from stack.commands.explain import look
from stack.control import Stack
from stack.errors import StackError

_LOOK_INTERVAL_S = 0.25
_FINAL = (NotificationStatus.DONE, NotificationStatus.CANCELLED)
# Enumerations, which people write in small letters and protobuf's JSON in capitals.
_NAMES = ("type", "category", "priority")


def request(given: Mapping[str, Any], rest: str) -> pb.SendNotificationRequest:
    """What is to be sent: `rest`, a JSON object as REST takes it, with what was `given` one by one laid over it.
    Raises StackError where it is not understood."""
    body = _object(rest)
    data = {
        **body.get("data", {}),
        **{k: given[k] for k in ("title", "message", "action_url") if given.get(k)},
    }
    body |= {name: value for name, value in given.items() if value and name not in data}
    if data:
        body["data"] = data
    body |= {name: str(body[name]).upper() for name in _NAMES if name in body}
    if "channels" in body:
        body["channels"] = [str(channel).upper() for channel in body["channels"]]
    try:
        return ParseDict(body, pb.SendNotificationRequest())
    except ParseError as error:
        raise StackError(f"this is no notification: {error}") from None


def _object(rest: str) -> dict[str, Any]:
    try:
        found = json.loads(rest or "{}")
    except ValueError as error:
        raise StackError(f"--json: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("data", {}), dict):
        raise StackError("--json: an object is needed, as POST /api/v1/notifications takes it")
    return found


def main(
    stack: Stack, sending: pb.SendNotificationRequest, service: str, follow: bool, limit_s: float
) -> bool:
    """Sends and prints the id; with `follow` the story as well, until all is final. False where it was not, in
    `limit_s`."""
    target = gateway.address(stack)
    token = stack.token(service=service)
    return asyncio.run(_send(target, token, sending, limit_s if follow else 0))


async def _send(target: str, token: str, sending: pb.SendNotificationRequest, limit_s: float) -> bool:
    sent = await gateway.asked(
        target,
        token,
        lambda channel, calls: calls.unary(IngestServiceStub(channel).SendNotification, sending),
    )
    print(sent.notification_id, flush=True)
    until, told = time.monotonic() + limit_s, 0
    while limit_s:
        found, page = await gateway.asked(
            target, token, lambda channel, calls: look(channel, calls, sent.notification_id)
        )
        for at, sentence in list(story.lines(page.entries))[told:]:
            print(f"  {at}  {sentence}", flush=True)
        told = len(page.entries)
        if found.status in _FINAL:
            return True
        if time.monotonic() > until:
            print(f"  not final after {limit_s:g} s: `crown explain {sent.notification_id}` goes on")
            return False
        await asyncio.sleep(_LOOK_INTERVAL_S)
    return True
