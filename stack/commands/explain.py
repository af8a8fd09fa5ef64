"""`crown explain`: asks for a notification and its timeline as an operator, and tells the story."""

from __future__ import annotations

import sys

import grpc
from rich.console import Console
from rich.text import Text

from crown.client.calls import Calls
from crown.notification.v1 import ingest_service_pb2 as pb
from crown.notification.v1.ingest_service_pb2_grpc import IngestServiceStub
from crown.notification.v1.notification_pb2 import Notification
from crown.notification.v1.timeline_pb2 import TimelineEntry
from stack.commands import gateway, story
from stack.commands.letter_tables import print_json
from stack.control import Stack

# Of one story; a notification to many has more, and --user finds one of them.
ENTRIES_MOST = 1_000


def main(stack: Stack, notification_id: str, user: str, as_json: bool) -> None:
    """Prints the story. Raises StackError where there is none to tell."""
    gateway.address(stack)
    token = stack.token(operator="explain", ttl_s=600)
    found, page = gateway.ask(
        stack, token, lambda channel, calls: look(channel, calls, notification_id, user)
    )
    if as_json:
        print_json(page)
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    _tell(console, found, list(page.entries))
    if page.next_cursor:
        console.print(f"… and more than {ENTRIES_MOST} entries: --user tells of one person alone.")
    if found.trace_id:
        console.print(f"Trace {found.trace_id}")


async def look(
    channel: grpc.aio.Channel, calls: Calls, notification_id: str, user: str = ""
) -> tuple[Notification, pb.ExplainNotificationResponse]:
    """A notification, and the first page of its story."""
    request = pb.ExplainNotificationRequest(notification_id=notification_id, user_id=user, limit=ENTRIES_MOST)
    stub = IngestServiceStub(channel)
    found = await calls.unary(
        stub.GetNotification, pb.GetNotificationRequest(notification_id=notification_id)
    )
    return found.notification, await calls.unary(stub.ExplainNotification, request)


def _tell(console: Console, found: Notification, entries: list[TimelineEntry]) -> None:
    console.print(Text(story.headline(found)))
    for time, sentence in story.lines(entries):
        # What providers answered is nobody's markup.
        console.print(Text(f"  {time}  {sentence}"), soft_wrap=True)
