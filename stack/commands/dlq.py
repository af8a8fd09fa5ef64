"""`crown dlq`: the dead letters of the running suite, for who operates it. What is said on the command line stands
here; calls and tables in stack/commands/dead_letters.py, which is loaded when it is needed."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stack.control import Stack
from stack.errors import StackError

if TYPE_CHECKING:
    from stack.commands.dead_letters import Desk

app = typer.Typer(
    help="Look at dead letters, have them delivered again, or put them aside.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Channel = Annotated[str, typer.Option(help="email, push, sms or webhook.")]
Reason = Annotated[str, typer.Option(help="Why it was given up, such as RETRIES_EXHAUSTED.")]
Provider = Annotated[str, typer.Option(help="The provider of the last attempt.")]
Kind = Annotated[str, typer.Option(help="What happened, such as login_alert.")]
Category = Annotated[str, typer.Option(help="activity, social, system, marketing or security.")]
User = Annotated[str, typer.Option(help="The person.")]
Notification = Annotated[str, typer.Option(help="The notification.")]
Sender = Annotated[str, typer.Option(help="The service that sent it.")]
Since = Annotated[str, typer.Option(help="Given up since then: 30m, 1h, 2d, or 2026-11-25T10:00:00Z.")]
Until = Annotated[str, typer.Option(help="Given up before then, said likewise.")]
Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Operator = Annotated[str, typer.Option(help="Who does it, for the timeline.")]


@app.command("list")
def list_letters(
    channel: Channel = "",
    reason: Reason = "",
    provider: Provider = "",
    kind: Kind = "",
    category: Category = "",
    user: User = "",
    notification: Notification = "",
    sender: Sender = "",
    since: Since = "",
    until: Until = "",
    state: Annotated[str, typer.Option(help="open, replayed, discarded or reconciled.")] = "open",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="A page of so many.")] = 50,
    cursor: Annotated[str, typer.Option(help="Go on where a page ended.")] = "",
    as_json: Json = False,
    operator: Operator = "",
) -> None:
    """List dead letters, the newest first."""
    given = _given(channel, reason, provider, kind, category, user, notification, sender, since, until)
    _desk(operator).list({**given, "state": state}, limit, cursor, as_json)


@app.command()
def show(
    dead_letter_id: Annotated[str, typer.Argument(metavar="ID")],
    as_json: Json = False,
    operator: Operator = "",
) -> None:
    """Show one with its attempts and what it says. That it was read is logged."""
    _desk(operator).show(dead_letter_id, as_json)


@app.command()
def replay(
    dead_letter_id: Annotated[str, typer.Argument(metavar="[ID]", help="This one; or say which below.")] = "",
    channel: Channel = "",
    reason: Reason = "",
    provider: Provider = "",
    kind: Kind = "",
    category: Category = "",
    user: User = "",
    notification: Notification = "",
    sender: Sender = "",
    since: Since = "",
    until: Until = "",
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    per_second: Annotated[int, typer.Option(min=1, max=1_000, help="So many a second.")] = 50,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when all are done.")] = False,
    replay_id: Annotated[str, typer.Option(help="The same id again is the same replay.")] = "",
    as_json: Json = False,
    operator: Operator = "",
) -> None:
    """Have one delivered again, or all that fit. With --wait the exit status is 3 unless all were."""
    given = _given(channel, reason, provider, kind, category, user, notification, sender, since, until)
    if bool(dead_letter_id) == (bool(given) or everything):
        raise StackError("name one dead letter, or say which: --channel, --reason, …, or --all")
    desk = _desk(operator)
    if dead_letter_id:
        desk.replay(dead_letter_id, as_json)
    elif not desk.replay_many(given, per_second, dry_run, replay_id, wait, as_json):
        raise typer.Exit(3)


@app.command()
def status(
    replay_id: Annotated[str, typer.Argument(metavar="REPLAY_ID")],
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is done.")] = False,
    as_json: Json = False,
    operator: Operator = "",
) -> None:
    """Show how far a replay is. With --wait the exit status is 3 unless all were replayed."""
    if not _desk(operator).status(replay_id, wait, as_json):
        raise typer.Exit(3)


@app.command()
def cancel(
    replay_id: Annotated[str, typer.Argument(metavar="REPLAY_ID")],
    as_json: Json = False,
    operator: Operator = "",
) -> None:
    """End a replay where it is."""
    _desk(operator).cancel(replay_id, as_json)


@app.command()
def discard(
    dead_letter_id: Annotated[str, typer.Argument(metavar="ID")],
    as_json: Json = False,
    operator: Operator = "",
) -> None:
    """Put one aside for good."""
    _desk(operator).discard(dead_letter_id, as_json)


def _given(*values: str) -> dict[str, Any]:
    """What was said of the filter, by its name in the contract."""
    names = ("channel", "reason", "provider", "kind", "category", "user_id", "notification_id", "sender")
    return {name: value for name, value in zip((*names, "since", "until"), values, strict=True) if value}


def _desk(operator: str) -> Desk:
    # Late: `crown token` shall not wait for gRPC.
    from stack.commands.dead_letters import Desk

    return Desk(Stack(), operator or _login())


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container has users without a name.
        return "operator"
