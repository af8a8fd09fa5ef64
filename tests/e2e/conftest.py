"""The whole suite, brought up once on ports and in a folder of its own, and ways to use it from outside."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import grpc
import pytest

from stack.control import Stack
from stack.errors import StackError
from stack.seed import seed
from tests.collector import Collector, collecting
from tests.e2e.arrivals import Ledger, Mailbox
from tests.e2e.people import People, Person
from tests.e2e.rest import Caller, Rest
from tests.sentry import Sentry, listening

# What tests/trust and tests/operations are given as well.
__all__ = [
    "channel", "collector", "feed", "hook", "ledger", "mailbox", "people", "person", "pytest_terminal_summary",
    "rest", "seeded", "sentry", "stack",
]  # fmt: skip

# The first base whose ports are free is taken, so that runs on one machine do not meet.
PORT_BASES = range(19000, 19900, 100)
_HOST = "127.0.0.1"
# What a developer may have set for a stack of their own.
_OF_STACKS = (
    "NOTIFICATION_SERVICE_PORT", "REDIS_HOST", "DATABASE_URL", "SMTP_HOST", "SMTP_USER", "SMTP_PASSWORD",
    "PUSH_SERVICE_KEY", "SMS_API_KEY", "NATS_URL", "NATS_USER", "NATS_PASSWORD",
)  # fmt: skip

_kept: list[Path] = []

_ENVIRONMENT = {
    # What providers tell by themselves would change states under the tests; scripts still make them tell.
    "CROWN_SANDBOX_CALLBACKS": "off",
    # Texts go where a test has put its trouble, and not around it.
    "CROWN_SMS_PROVIDERS": "twilio",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts last what looks at everything that the others left behind."""
    here = Path(__file__).parent
    last = [
        here / name for name in ("test_readme.py", "test_provoked.py", "test_privacy.py", "test_rights.py")
    ]
    items.sort(key=lambda item: last.index(item.path) + 1 if item.path in last else 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says where the logs of a failed run are."""
    for path in _kept:
        terminalreporter.write_line(f"the logs of the stack: {path}")


@pytest.fixture(scope="session")
def hook() -> Iterator[socket.socket]:
    """Where the service feed is told by webhooks: taken before the suite starts, which has to allow it."""
    with socket.create_server((_HOST, 0)) as listener:
        yield listener


@pytest.fixture(scope="session")
async def collector() -> AsyncIterator[Collector]:
    """Where the suite's spans go: those of traces that a test has begun, and no others."""
    async with collecting() as found:
        yield found


@pytest.fixture(scope="session")
def sentry() -> Iterator[Sentry]:
    """Where the suite reports its errors."""
    with listening() as found:
        yield found


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    hook: socket.socket,
    collector: Collector,
    sentry: Sentry,
) -> Iterator[Stack]:
    """The suite, up, and nothing of another stack in the environment. Its logs stay where a test has failed."""
    failed_before = request.session.testsfailed
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("CROWN_") or name.removesuffix("_FILE") in _OF_STACKS:
                patch.delenv(name)
        patch.setenv("CROWN_OTLP_ENDPOINT", collector.endpoint)
        patch.setenv("CROWN_TRACE_RATIO", "0")
        dsn = tmp_path_factory.mktemp("sentry") / "dsn"
        dsn.write_text(sentry.dsn)
        patch.setenv("CROWN_SENTRY_DSN_FILE", str(dsn))
        patch.setenv("CROWN_WEBHOOK_HOSTS", f"feed={_HOST}:{hook.getsockname()[1]}")
        stack = brought_up(tmp_path_factory.mktemp("stack"))
        try:
            yield stack
        finally:
            stack.down()
    if request.session.testsfailed == failed_before:
        stack.clean()
    else:
        shutil.rmtree(stack.layout.folder / "data")
        _kept.append(stack.layout.logs)


def _claimed(base: int) -> bool:
    """Whether the ports from `base` on are for this run from now on: another may have looked at them in the same
    moment, and found them free as well."""
    # Open until the process ends.
    lock = os.open(Path(tempfile.gettempdir(), f"crown-tests-{base}.lock"), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True


def brought_up(home: Path, **more: str) -> Stack:
    """A whole suite, up, with `more` in its environment."""
    for base in filter(_claimed, PORT_BASES):
        stack = Stack(base, home, env={**_ENVIRONMENT, **more})
        try:
            stack.up()
        except StackError as error:
            if "is in use by" not in str(error):
                _kept.append(stack.layout.logs)
                raise
        else:
            return stack
    raise StackError(f"there is no free port base in {PORT_BASES}")


@pytest.fixture(scope="session")
async def rest(stack: Stack) -> AsyncIterator[Rest]:
    """The REST surface; everybody calls over one session."""
    connector = aiohttp.TCPConnector(limit=0)
    limit = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(connector=connector, timeout=limit) as http:
        yield Rest(stack, http)


@pytest.fixture(scope="session")
async def channel(rest: Rest) -> AsyncIterator[grpc.aio.Channel]:
    """A gRPC channel through the gateway."""
    async with grpc.aio.insecure_channel(rest.address) as opened:
        yield opened


@pytest.fixture(scope="session")
def ledger(stack: Stack, rest: Rest) -> Ledger:
    """What reached the providers."""
    return Ledger(rest.http, f"http://{_HOST}:{stack.settings.ports.sandbox}")


@pytest.fixture(scope="session")
def mailbox(stack: Stack, rest: Rest) -> Mailbox:
    """What arrived by SMTP."""
    return Mailbox(rest.http, f"http://{_HOST}:{stack.settings.ports.mailbox_http}")


@pytest.fixture(scope="session")
def seeded(stack: Stack, rest: Rest) -> None:
    """The people of the examples, as `crown up` makes them."""
    seed(rest.address, stack.token(service="stack"))


@pytest.fixture(scope="session")
def feed(rest: Rest) -> Caller:
    """A service that may do what services may."""
    return rest.service("feed")


@pytest.fixture(scope="session")
def people(rest: Rest) -> People:
    """Makes people."""
    return People(rest)


@pytest.fixture
async def person(people: People) -> Person:
    """Somebody new, with an address on every channel."""
    return await people.new()
