"""`crown tail`: what becomes of deliveries at this moment, a line each, as the bus tells it. People appear by their
id alone; there is no content in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from crown import subjects
from crown.notification.v1.events_pb2 import CallbackEvent, OutcomeEvent
from crown.notification.v1.types_pb2 import CallbackType, Channel, DeliveryState
from stack import services
from stack.commands.letter_tables import word
from stack.commands.nats_client import connected
from stack.control import Stack
from stack.errors import StackError
from stack.secrets import OPERATOR

Event = OutcomeEvent | CallbackEvent


def main(stack: Stack, channel: str, notification: str, user: str, count: int, as_json: bool) -> None:
    """Prints until `count` lines have come, or for ever where it is 0. Raises StackError."""
    if stack.supervisor_pid() is None:
        raise StackError("the stack is not up: `crown up` first")
    if channel and channel not in subjects.NAMES.values():
        raise StackError(f"--channel: must be one of {', '.join(sorted(subjects.NAMES.values()))}")

    def wanted(event: Event) -> bool:
        return (
            (not channel or word(Channel, event.channel) == channel)
            and (not notification or event.notification_id == notification)
            and (not user or getattr(event, "user_id", "") == user)
        )

    asyncio.run(_tail(stack, wanted, count, as_json))


async def _tail(stack: Stack, wanted: Callable[[Event], bool], count: int, as_json: bool) -> None:
    heard: asyncio.Queue[Event] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        event = read(message.subject, message.data)
        if event is not None and wanted(event):
            heard.put_nowait(event)

    told = services.connections(stack.settings, stack.secrets, OPERATOR)
    async with connected(told, "crown tail") as client:
        await client.subscribe(subjects.EVENTS, cb=hear)
        seen = 0
        while not count or seen < count:
            event = await heard.get()
            print(json.dumps(MessageToDict(event)) if as_json else line(event), flush=True)
            seen += 1


def read(subject: str, data: bytes) -> Event | None:
    """What a message tells; None where nobody can read it."""
    callback = subject.startswith(subjects.callback(""))
    try:
        return CallbackEvent.FromString(data) if callback else OutcomeEvent.FromString(data)
    except DecodeError:
        return None


def line(event: Event) -> str:
    """An event as people read it: when, which notification, on which channel, what, and why."""
    at = event.occur_time.ToDatetime(UTC).strftime("%H:%M:%S.%f")[:-3]
    if isinstance(event, CallbackEvent):
        what = [f"told: {word(CallbackType, event.type)}", event.provider]
    else:
        tries = f"attempt {event.attempt}" if event.attempt else ""
        what = [word(DeliveryState, event.state), event.provider, tries, event.reason, event.detail]
    return "  ".join(
        filter(None, [at, event.notification_id, f"{word(Channel, event.channel):<9}", *filter(None, what)])
    )
