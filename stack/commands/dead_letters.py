"""What `crown dlq` does: calls DeadLetterService through the gateway as an operator, and prints what it answers."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from crown.client.calls import Calls
from crown.notification.v1 import dead_letter_service_pb2 as pb
from crown.notification.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from crown.notification.v1.types_pb2 import Category, Channel, DeadLetterState
from stack.commands import gateway
from stack.commands.letter_tables import attempts, facts, print_json, progress, table, word
from stack.control import Stack
from stack.errors import StackError

if TYPE_CHECKING:
    # Stubs alone know of it.
    from crown.notification.v1.dead_letter_service_pb2_grpc import DeadLetterServiceAsyncStub

A = TypeVar("A")
Call = Callable[["DeadLetterServiceAsyncStub", Calls], Awaitable[A]]

_TOKEN_TTL_S = 3_600
_LOOK_INTERVAL_S = 0.5
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGO = re.compile(r"(\d{1,6})([smhd])")


class Desk:
    """The dead letters of one stack, for one operator. Everything raises StackError with one clear line."""

    def __init__(self, stack: Stack, operator: str) -> None:
        gateway.address(stack)
        self._stack = stack
        self._token = stack.token(operator=operator, ttl_s=_TOKEN_TTL_S)
        # Wide where nobody has a terminal: a line of a table must not be broken.
        self._console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)

    def list(self, given: Mapping[str, Any], limit: int, cursor: str, as_json: bool) -> None:
        """Prints a page."""
        request = pb.ListDeadLettersRequest(filter=filter_of(given, _now()), limit=limit, cursor=cursor)
        found = self._ask(lambda stub, calls: calls.unary(stub.ListDeadLetters, request))
        if as_json:
            print_json(found)
            return
        if found.dead_letters:
            self._console.print(table(found.dead_letters))
        shown = len(found.dead_letters)
        more = f"; go on with --cursor {found.next_cursor}" if found.next_cursor else ""
        self._console.print(f"{shown} of {found.total}{more}", soft_wrap=True)

    def show(self, dead_letter_id: str, as_json: bool) -> None:
        """Prints one with all there is to know."""
        request = pb.GetDeadLetterRequest(dead_letter_id=dead_letter_id)
        found = self._ask(lambda stub, calls: calls.unary(stub.GetDeadLetter, request))
        if as_json:
            print_json(found)
            return
        for name, value in facts(found):
            self._console.print(Text.assemble((f"{name:<16}", "dim"), value), soft_wrap=True)
        if found.attempts:
            self._console.print()
            self._console.print(attempts(found))

    def replay(self, dead_letter_id: str, as_json: bool) -> None:
        """Replays one."""
        request = pb.ReplayDeadLetterRequest(dead_letter_id=dead_letter_id)
        found = self._ask(lambda stub, calls: calls.unary(stub.ReplayDeadLetter, request))
        self._tell(found, f"{dead_letter_id} was given back to be delivered", as_json)

    def discard(self, dead_letter_id: str, as_json: bool) -> None:
        """Puts one aside."""
        request = pb.DiscardDeadLetterRequest(dead_letter_id=dead_letter_id)
        found = self._ask(lambda stub, calls: calls.unary(stub.DiscardDeadLetter, request))
        self._tell(found, f"{dead_letter_id} is {word(DeadLetterState, found.dead_letter.state)}", as_json)

    def replay_many(
        self,
        given: Mapping[str, Any],
        per_second: int,
        dry_run: bool,
        replay_id: str,
        wait: bool,
        as_json: bool,
    ) -> bool:
        """Begins a replay of all that fit; with `wait` answers whether all of them were replayed, else True."""
        request = pb.ReplayDeadLettersRequest(
            filter=filter_of(given, _now()), per_second=per_second, dry_run=dry_run, replay_id=replay_id
        )
        found = self._ask(lambda stub, calls: calls.unary(stub.ReplayDeadLetters, request)).replay
        if dry_run:
            self._tell(found, f"{found.matched} would be replayed", as_json)
            return True
        return self._follow(found, wait, as_json)

    def status(self, replay_id: str, wait: bool, as_json: bool) -> bool:
        """Prints how far a replay is, and answers as `replay_many`."""
        return self._follow(self._look(replay_id), wait, as_json)

    def cancel(self, replay_id: str, as_json: bool) -> None:
        """Ends a replay."""
        request = pb.CancelReplayRequest(replay_id=replay_id)
        found = self._ask(lambda stub, calls: calls.unary(stub.CancelReplay, request)).replay
        self._tell(found, progress(found), as_json)

    def _look(self, replay_id: str) -> pb.Replay:
        request = pb.GetReplayRequest(replay_id=replay_id)
        return self._ask(lambda stub, calls: calls.unary(stub.GetReplay, request)).replay

    def _follow(self, replay: pb.Replay, wait: bool, as_json: bool) -> bool:
        if wait:
            with Progress(
                console=self._console, transient=True, disable=not self._console.is_terminal
            ) as bar:
                task = bar.add_task("replaying", total=replay.matched)
                while not replay.done:
                    time.sleep(_LOOK_INTERVAL_S)
                    replay = self._look(replay.replay_id)
                    bar.update(task, completed=replay.replayed + replay.skipped)
        self._tell(replay, progress(replay), as_json)
        return not wait or (not replay.cancelled and not replay.skipped)

    def _tell(self, found: Message, line: str, as_json: bool) -> None:
        if as_json:
            print_json(found)
        else:
            self._console.print(line, soft_wrap=True)

    def _ask(self, call: Call[A]) -> A:
        """What the call answers. Raises StackError with what the suite says."""
        return gateway.ask(
            self._stack, self._token, lambda channel, calls: call(DeadLetterServiceStub(channel), calls)
        )


# -- what was said


def filter_of(given: Mapping[str, Any], now: datetime) -> pb.DeadLetterFilter:
    """The filter of what was said on the command line. Raises StackError where it is not understood."""
    found = pb.DeadLetterFilter()
    for name, value in given.items():
        match name:
            case "channel":
                found.channel = _number(Channel, name, value)
            case "category":
                found.category = _number(Category, name, value)
            case "state":
                found.state = _number(DeadLetterState, name, value)
            case "since" | "until":
                getattr(found, name).CopyFrom(moment(name, value, now))
            case _:
                setattr(found, name, value)
    return found


def moment(name: str, text: str, now: datetime) -> Timestamp:
    """A moment as people say it: so long ago, or RFC 3339."""
    stamp = Timestamp()
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            stamp.FromDatetime(now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
        else:
            stamp.FromJsonString(text)
    except (ValueError, OverflowError):
        raise StackError(f"--{name}: say 30m, 1h, 2d, or a time such as 2026-11-25T10:00:00Z") from None
    return stamp


def _number(kind: Any, name: str, text: str) -> Any:
    known = {word.lower(): number for word, number in kind.Type.items() if number}
    try:
        return known[text.lower()]
    except KeyError:
        raise StackError(f"--{name}: must be one of {', '.join(known)}") from None


def _now() -> datetime:
    return datetime.now(UTC)
