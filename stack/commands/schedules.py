"""`crown schedules`: what is sent again and again, for who operates the suite. gRPC is loaded when it is needed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import Annotated, Any

import typer

from stack.control import Stack

app = typer.Typer(
    help="List schedules, hold one, let it go on, or send what it says now.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Id = Annotated[str, typer.Argument(metavar="ID")]
_PAGE = 100
_TOKEN_TTL_S = 600


@app.command("list")
def list_schedules(as_json: Json = False) -> None:
    """List all schedules with the next time of each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from stack.commands.letter_tables import word

    found = [one for page in _pages() for one in page.schedules]
    if as_json:
        _print_all(found)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("id", "name", "sender", "cron", "zone", "state", "next", "last"):
        table.add_column(title, no_wrap=title in {"id", "next", "last"})
    for one in found:
        texts = (one.name, one.sender, one.cron, one.time_zone or "UTC", word(_state_type(), one.state))
        upcoming = _time(one.next_times[0]) if one.next_times else ""
        table.add_row(one.schedule_id, *map(Text, texts), upcoming, _time(one.last_time))
    Console(highlight=False, width=200).print(table)
    print(f"{len(found)} schedules")


@app.command()
def show(schedule_id: Id) -> None:
    """Show one with what it sends and its next times, as JSON."""
    from stack.commands.letter_tables import print_json

    print_json(_ask("GetSchedule", schedule_id).schedule)


@app.command()
def pause(schedule_id: Id) -> None:
    """Hold one: nothing is sent until `resume`."""
    _ask("PauseSchedule", schedule_id)
    print(f"{schedule_id} is paused")


@app.command()
def resume(schedule_id: Id) -> None:
    """Let one go on; what it missed meanwhile is not sent."""
    found = _ask("ResumeSchedule", schedule_id).schedule
    print(f"{schedule_id} goes on: next {_time(found.next_times[0]) if found.next_times else 'never'}")


@app.command()
def run(schedule_id: Id) -> None:
    """Send what one says now, beside its times, and print the notification's id."""
    print(_ask("RunSchedule", schedule_id).notification_id)


def _ask(method: str, schedule_id: str, **more: Any) -> Any:
    from crown.notification.v1 import schedule_service_pb2 as pb
    from crown.notification.v1.schedule_service_pb2_grpc import ScheduleServiceStub
    from stack.commands import gateway

    stack = Stack()
    request = getattr(pb, f"{method}Request")(**({"schedule_id": schedule_id} if schedule_id else {}), **more)
    token = stack.token(operator="schedules", ttl_s=_TOKEN_TTL_S)
    return gateway.ask(
        stack,
        token,
        lambda channel, calls: calls.unary(getattr(ScheduleServiceStub(channel), method), request),
    )


def _pages() -> Iterable[Any]:
    cursor = ""
    while True:
        page = _ask("ListSchedules", "", limit=_PAGE, cursor=cursor)
        yield page
        cursor = page.next_cursor
        if not cursor:
            return


def _print_all(found: Iterable[Any]) -> None:
    import json

    from google.protobuf.json_format import MessageToDict

    print(json.dumps([MessageToDict(one, preserving_proto_field_name=True) for one in found], indent=2))


def _state_type() -> Any:
    from crown.notification.v1.types_pb2 import ScheduleState

    return ScheduleState


def _time(stamp: Any) -> str:
    return stamp.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if stamp.seconds else ""
