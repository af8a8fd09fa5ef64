"""The `crown` command: runs the suite on this machine and hands out what one needs to try it."""

from __future__ import annotations

import importlib
import json
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from crown.token import LIFE_MOST_S
from stack import keys, logs, show
from stack.commands import dlq, schedules
from stack.control import UP_LIMIT_S, Stack
from stack.errors import StackError, StartFailed
from stack.plan import GATEWAY
from stack.scale import VARIABLE as SCALE
from stack.settings import LOOPBACK
from stack.tokens import DEFAULT_TTL_S

app = typer.Typer(
    help=(
        "The Crown Notification Service on one machine. CROWN_STACK_PORT_BASE (3000) tells stacks apart.\n\n"
        "Begin with `crown up` and `crown demo`. What became of a notification: `crown explain ID`. What happens "
        "now: `crown tail`. What is wrong: `crown doctor`. For your shell: `crown --install-completion`."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(dlq.app, name="dlq")
app.add_typer(schedules.app, name="schedules")

_FAILED_LOG_LINES = 20
_STAY_POLL_S = 2


@app.command()
def up(
    only: Annotated[str, typer.Option(help="Only these, comma separated, and what they need.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds until all must be healthy.")] = UP_LIMIT_S,
    scale: Annotated[
        list[str] | None, typer.Option(help="role=number: so many processes of a service, such as email=2.")
    ] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, and stop it on SIGTERM.")] = False,
) -> None:
    """Start the suite in the background and wait until it is healthy."""
    stack = Stack(
        only=[name.strip() for name in only.split(",") if name.strip()],
        env={SCALE: ",".join(scale)} if scale else {},
    )
    if not foreground:
        _start(stack, timeout)
        return
    # From the first moment: who is told to stop while it starts leaves nothing behind either.
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, _stop_told)
    try:
        _start(stack, timeout)
        _stay(stack)
    except _StopTold:
        stack.down()


@app.command()
def down() -> None:
    """Stop the suite; its data stay."""
    stack = Stack()
    if stack.supervisor_pid() is None:
        print("the stack is not up")
        return
    stack.down()
    print(f"the stack is down; its data stay in {show.path(stack.layout.folder)}")


@app.command()
def clean() -> None:
    """Stop the suite and delete its data, logs and secrets."""
    stack = Stack()
    stack.clean()
    print(f"{show.path(stack.layout.folder)} is gone")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show every process and server: name, pid, address, health. Exit status 3 unless all are healthy."""
    stack = Stack()
    processes = stack.status()
    if as_json:
        print(json.dumps([asdict(one) for one in processes], indent=2))
    else:
        show.table(stack, processes)
    if not stack.healthy():
        raise typer.Exit(3)


@app.command()
def doctor(
    send_test: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="CHANNEL TO", help="Send one: email you@example.org, sms +14155550123, push TOKEN."
        ),
    ] = None,
) -> None:
    """Say what is wrong, or send one message and show the provider's answer. Exit status 1 unless all is well."""
    # Late: `crown token` shall not wait for gRPC.
    stack = Stack()
    if send_test is None:
        well = importlib.import_module("stack.commands.doctor").main(stack)
    else:
        well = importlib.import_module("stack.commands.send_test").main(stack, *send_test)
    if not well:
        raise typer.Exit(1)


@app.command("logs")
def show_logs(
    name: Annotated[str, typer.Argument(help="A process, or `supervisor`; all when missing.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="The last lines of each.")] = 50,
) -> None:
    """Show the logs, each line with the process it comes from."""
    layout = Stack().layout
    paths = [layout.log(name)] if name else sorted(layout.logs.glob("*.log"))
    if not paths or not paths[0].exists():
        raise StackError(f"there is no log of {name or 'any process'} in {layout.logs}")
    width = 0 if name else max(len(path.stem) for path in paths)
    for path in paths:
        for line in logs.tail(path, lines):
            show.log_line(path.stem, line, width)
    if follow:
        for path, line in logs.follow(paths):
            show.log_line(path.stem, line, width)


@app.command()
def token(
    user: Annotated[str, typer.Option(help="For this user.")] = "",
    service: Annotated[str, typer.Option(help="For this service.")] = "",
    operator: Annotated[str, typer.Option(help="For this operator.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="A service's right; all when none is given.")
    ] = None,
    ttl: Annotated[
        int, typer.Option(help="Seconds until it expires; at most a week.", max=LIFE_MOST_S)
    ] = DEFAULT_TTL_S,
    session: Annotated[str, typer.Option(help="The login that it belongs to.")] = "",
) -> None:
    """Print a token, alone on a line."""
    scopes = [one for given in scope or () for one in given.replace(",", " ").split()]
    stack = Stack()
    print(
        stack.token(
            user or None, service or None, operator or None, scopes=scopes, ttl_s=ttl, session=session
        )
    )


@app.command("vapid")
def show_vapid(
    of: Annotated[
        Path | None, typer.Option(help="A file with a private key; a new one when missing.")
    ] = None,
) -> None:
    """Print the key pair for push to browsers: the service's setting, and what web apps subscribe with."""
    private = of.read_text().strip() if of else keys.new_vapid_key()
    print(f"CROWN_WEB_PUSH_KEY={private}\napplicationServerKey={keys.vapid_public_key(private)}")


@app.command("webhook-secret")
def webhook_secret(
    service: Annotated[str, typer.Option(help="The service that webhooks are for.")],
) -> None:
    """Print what a service verifies its webhooks with, alone on a line."""
    print(importlib.import_module("stack.commands.webhook_secret").of(Stack(), service))


@app.command()
def send(
    user: Annotated[list[str] | None, typer.Option(help="A person; several: say it again.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Everybody in this group.")] = None,
    everyone: Annotated[bool, typer.Option("--everyone", help="Everybody.")] = False,
    type_: Annotated[
        str, typer.Option("--type", help="real_time, push, email, sms or in_app; else the kind decides.")
    ] = "",
    kind: Annotated[str, typer.Option(help="What happened, such as comment or login_alert.")] = "",
    title: Annotated[str, typer.Option(help="The first line.")] = "",
    message: Annotated[str, typer.Option(help="The text.")] = "",
    action_url: Annotated[str, typer.Option(help="Where it leads.")] = "",
    key: Annotated[str, typer.Option(help="An idempotency key: the same again sends nothing again.")] = "",
    rest: Annotated[
        str,
        typer.Option("--json", metavar="OBJECT", help="All else, as POST /api/v1/notifications takes it."),
    ] = "",
    service: Annotated[str, typer.Option(help="As which service.")] = "feed",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Tell the story until all is final.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that --follow waits.")] = 60,
) -> None:
    """Send one notification and print its id. With --follow the exit status is 3 unless all became final.

    crown send --user user123 --type sms --title "Hello" --follow
    """
    from stack.commands import send as sending

    people = {"user_id": user[0]} if user and len(user) == 1 else {"user_ids": user}
    given = {**people, "group_ids": group, "everyone": everyone, "type": type_, "kind": kind}
    given |= {"title": title, "message": message, "action_url": action_url, "idempotency_key": key}
    if not sending.main(Stack(), sending.request(given, rest), service, follow, timeout):
        raise typer.Exit(3)


@app.command()
def tail(
    channel: Annotated[str, typer.Option(help="Only this channel.")] = "",
    notification: Annotated[str, typer.Option(help="Only this notification.")] = "",
    user: Annotated[str, typer.Option(help="Only this person.")] = "",
    count: Annotated[int, typer.Option("--count", "-n", help="Stop after so many lines; 0: never.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Print what becomes of deliveries as it happens, a line each."""
    importlib.import_module("stack.commands.tail").main(Stack(), channel, notification, user, count, as_json)


@app.command()
def explain(
    notification_id: Annotated[str, typer.Argument(metavar="ID")],
    user: Annotated[str, typer.Option(help="Only what concerns this person.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Tell the story of one notification in plain words: what was decided, why, and what became of it."""
    importlib.import_module("stack.commands.explain").main(Stack(), notification_id, user, as_json)


@app.command()
def revoke(
    user: Annotated[str, typer.Option(help="Of this person.")] = "",
    session: Annotated[str, typer.Option(help="Only those of this login of the person.")] = "",
    service: Annotated[str, typer.Option(help="Of this service.")] = "",
    operator: Annotated[str, typer.Option(help="Of this operator.")] = "",
) -> None:
    """Refuse all tokens that were issued before now, and close what they have opened."""
    importlib.import_module("stack.commands.revoke").main(Stack(), user, session, service, operator)


@app.command()
def demo() -> None:
    """Send one notification on every channel and show where each arrived."""
    importlib.import_module("stack.commands.demo").main()


@app.command()
def listen(
    user: Annotated[str, typer.Option(help="Whose sockets.")],
    count: Annotated[int, typer.Option(help="Stop after so many events; 0: never.")] = 0,
) -> None:
    """Print what a user's sockets get, a JSON line an event."""
    importlib.import_module("stack.commands.listen").main(Stack(), user, count)


def _seed(stack: Stack) -> None:
    # Where another's tokens are believed, nobody here can sign one.
    if stack.settings.given.get("CROWN_JWKS") or not any(one.name == GATEWAY for one in stack.status()):
        return
    # Late: `crown token` shall not wait for an HTTP client.
    from stack.seed import seed

    host = stack.settings.gateway_host
    seed(
        f"{LOOPBACK if host == '0.0.0.0' else host}:{stack.settings.ports.gateway}",
        stack.token(service="stack", scopes=["contacts.write", "groups.write"]),
    )


class _StopTold(BaseException):
    """SIGTERM or SIGINT came; not an Exception, which others might take for a failure of theirs."""


def _stop_told(_number: int, _frame: object) -> NoReturn:
    # Once is enough: stopping takes its time and must not be broken off.
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, signal.SIG_IGN)
    raise _StopTold


def _start(stack: Stack, timeout_s: float) -> None:
    was_up = stack.supervisor_pid() is not None
    try:
        with show.Progress(stack) as progress:
            stack.up(timeout_s, progress.tell)
    except StartFailed as failure:
        _show_log_of(stack, failure.name)
        raise
    if not was_up:
        _seed(stack)
    show.overview(stack)


def _stay(stack: Stack) -> None:
    """Returns never; ends with an error where the stack ended by itself."""
    while stack.supervisor_pid() is not None:
        time.sleep(_STAY_POLL_S)
    raise StackError("the supervisor is gone")


def _show_log_of(stack: Stack, name: str) -> None:
    for line in stack.log_tail(name, _FAILED_LOG_LINES):
        print(f"  {name} | {line}", file=sys.stderr)


def main() -> None:
    try:
        app()
    except StackError as error:
        print(f"crown: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # `crown logs | head`: the reader has seen enough.
        sys.stderr.close()
        sys.exit(141)


if __name__ == "__main__":
    main()
