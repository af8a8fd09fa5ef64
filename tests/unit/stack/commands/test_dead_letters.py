"""`crown dlq`: what people say becomes a filter, and what comes back a table."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from typer.testing import CliRunner

from crown.notification.v1 import dead_letter_service_pb2 as pb
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.timeline_pb2 import TimelineEntry
from crown.notification.v1.types_pb2 import Category, Channel, DeadLetterState, DeliveryState, TimelineEvent
from stack import cli
from stack.commands import letter_tables
from stack.commands.dead_letters import filter_of, moment
from stack.errors import StackError

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
AT = Timestamp(seconds=1_795_600_000)
ENTRY = pb.DeadLetterEntry(
    dead_letter_id=f"{'a' * 32}:3",
    state=DeadLetterState.OPEN,
    reason="PROVIDER_TERMINAL",
    error="INVALID_NUMBER: 21211 [bold]not markup[/]",
    channel=Channel.SMS,
    notification_id="n",
    user_id="ann",
    kind="login_alert",
    attempts=3,
    create_time=AT,
)


def printed(table: Any, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(table)
    return out.getvalue()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, pb.DeadLetterFilter()),
        ({"channel": "email"}, pb.DeadLetterFilter(channel=Channel.EMAIL)),
        ({"channel": "SMS"}, pb.DeadLetterFilter(channel=Channel.SMS)),
        ({"channel": "webhook"}, pb.DeadLetterFilter(channel=Channel.WEBHOOK)),
        ({"category": "security"}, pb.DeadLetterFilter(category=Category.SECURITY)),
        ({"state": "reconciled"}, pb.DeadLetterFilter(state=DeadLetterState.RECONCILED)),
        ({"reason": "OUTCOME_UNKNOWN"}, pb.DeadLetterFilter(reason="OUTCOME_UNKNOWN")),
        ({"user_id": "a", "sender": "feed"}, pb.DeadLetterFilter(user_id="a", sender="feed")),
    ],
)
def test_what_is_said_becomes_a_filter(given: dict[str, str], expected: pb.DeadLetterFilter) -> None:
    assert filter_of(given, NOW) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", "2026-11-25T11:59:30Z"),
        ("30m", "2026-11-25T11:30:00Z"),
        ("1h", "2026-11-25T11:00:00Z"),
        ("2d", "2026-11-23T12:00:00Z"),
        ("2026-11-25T10:00:00Z", "2026-11-25T10:00:00Z"),
        ("2026-11-25T10:00:00+01:00", "2026-11-25T09:00:00Z"),
    ],
)
def test_moments_as_people_say_them(text: str, expected: str) -> None:
    assert moment("since", text, NOW).ToJsonString() == expected
    assert filter_of({"since": text}, NOW).since.ToJsonString() == expected


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"channel": "fax"}, "--channel: must be one of real_time, push, email, sms, in_app, webhook"),
        ({"state": "gone"}, "--state: must be one of open, replayed, discarded, reconciled"),
        ({"category": ""}, "--category: must be one of"),
        ({"since": "yesterday"}, "--since: say 30m"),
        ({"until": "-1h"}, "--until: say 30m"),
        ({"since": "999999d"}, "--since: say 30m"),
    ],
)
def test_what_is_not_understood_ends_with_one_line(given: dict[str, str], named: str) -> None:
    with pytest.raises(StackError) as caught:
        filter_of(given, NOW)
    assert str(caught.value).startswith(named)


def test_the_table_shows_what_one_needs() -> None:
    head, line = printed(letter_tables.table([ENTRY])).splitlines()
    assert head.split() == [
        "id",
        "given",
        "up",
        "channel",
        "reason",
        "error",
        "kind",
        "user",
        "attempts",
        "state",
    ]
    assert line.split()[0] == ENTRY.dead_letter_id
    for word in ("sms", "PROVIDER_TERMINAL", "login_alert", "ann", "3", "open"):
        assert word in line.split()
    # A provider's words are shown as they are.
    assert "INVALID_NUMBER: 21211 [bold]not markup[/]" in line


def test_an_id_is_whole_on_a_narrow_terminal() -> None:
    assert ENTRY.dead_letter_id in printed(letter_tables.table([ENTRY]), 80)


def test_one_letter_leaves_out_what_is_not_known() -> None:
    found = pb.GetDeadLetterResponse(dead_letter=ENTRY, data=NotificationData(title="Hello"))
    told = dict(letter_tables.facts(found))
    assert (told["title"], told["channel"], told["state"]) == ("Hello", "sms", "open")
    assert {"message", "body", "sender", "category"}.isdisjoint(told)
    done = pb.GetDeadLetterResponse(dead_letter=ENTRY, body=b"\xff" * 1_000)
    done.dead_letter.MergeFrom(
        pb.DeadLetterEntry(state=DeadLetterState.DISCARDED, update_by="olga", update_time=AT)
    )
    told = dict(letter_tables.facts(done))
    assert told["state"].startswith("discarded by olga at 2026-11-25 ")
    assert len(told["body"]) < 1_100


def test_the_attempts_of_one() -> None:
    entry = TimelineEntry(
        time=AT,
        event=TimelineEvent.ATTEMPTED,
        state=DeliveryState.FAILED,
        attempt=3,
        provider="twilio",
        reason="INVALID_NUMBER",
        detail="HTTP 400",
    )
    table = letter_tables.attempts(pb.GetDeadLetterResponse(dead_letter=ENTRY, attempts=[entry]))
    _, line = printed(table).splitlines()
    assert line.split()[2:] == ["attempted", "failed", "3", "twilio", "INVALID_NUMBER", "HTTP", "400"]


@pytest.mark.parametrize(
    ("replay", "line"),
    [
        (pb.Replay(replay_id="r", matched=9), "replay r is running: 0 of 9 replayed"),
        (pb.Replay(replay_id="r", matched=9, replayed=9, done=True), "replay r is done: 9 of 9 replayed"),
        (
            pb.Replay(replay_id="r", matched=9, replayed=2, skipped=1, done=True, cancelled=True),
            "replay r is cancelled: 2 of 9 replayed, 1 skipped",
        ),
    ],
)
def test_how_far_a_replay_is(replay: pb.Replay, line: str) -> None:
    assert letter_tables.progress(replay) == line


def test_for_scripts_as_rest_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    letter_tables.print_json(pb.ListDeadLettersResponse(dead_letters=[ENTRY], total=1))
    found = json.loads(capsys.readouterr().out)
    assert found["total"] == 1
    assert found["dead_letters"][0]["channel"] == "SMS"


@pytest.mark.parametrize(
    "arguments",
    [["replay"], ["replay", "a:1", "--channel", "sms"], ["replay", "a:1", "--all"]],
    ids=["nothing", "one and many", "one and all"],
)
def test_a_replay_says_which(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli.app, ["dlq", *arguments])
    assert isinstance(result.exception, StackError)
    assert "name one dead letter, or say which" in str(result.exception)


@pytest.mark.parametrize("arguments", [["list"], ["show", "a:1"], ["replay", "--all"], ["discard", "a:1"]])
def test_a_stack_that_is_not_up(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWN_STACK_HOME", str(tmp_path))
    result = CliRunner().invoke(cli.app, ["dlq", *arguments])
    assert str(result.exception) == "the stack is not up: `crown up` first"


@pytest.mark.parametrize(
    "arguments", [["list", "--limit", "501"], ["replay", "--all", "--per-second", "0"], ["show"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.app, ["dlq", *arguments]).exit_code == 2
