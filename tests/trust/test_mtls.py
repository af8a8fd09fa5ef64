"""The whole suite with TLS between its parts: every channel, sockets, polls, what operators see and the commands work
as without, and past the gateway nobody gets anywhere without a certificate."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import aiohttp
import grpc
import pytest

from crown import tls
from crown.notification.v1.inbox_service_pb2 import ListNotificationsRequest
from crown.notification.v1.inbox_service_pb2_grpc import InboxServiceStub
from stack.control import Stack
from stack.services import ROLES
from tests.e2e.arrivals import Ledger, Mailbox
from tests.e2e.conftest import brought_up
from tests.e2e.people import WORD, People, Person, data
from tests.e2e.phoenix import connected
from tests.e2e.rest import Rest
from tests.trust.poller import Poller

REFUSED, UNREACHED = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


@dataclass(frozen=True)
class Site:
    """The suite, and where what it sends arrives."""

    stack: Stack
    rest: Rest
    ledger: Ledger
    mailbox: Mailbox
    person: Person

    async def command(self, *arguments: str) -> str:
        """What `crown` prints, which has to end well."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stack.cli", *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "CROWN_STACK_PORT_BASE": str(self.stack.settings.ports.base),
                "CROWN_STACK_HOME": str(self.stack.settings.home),
                "CROWN_STACK_MTLS": "on",
                "CROWN_STACK_FILTER": "reference",
            },
        )  # fmt: skip
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode()


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A suite of its own, with a filter, so that there is somebody whom dispatch asks."""
    stack = brought_up(
        tmp_path_factory.mktemp("stack"), CROWN_STACK_MTLS="on", CROWN_STACK_FILTER="reference"
    )
    try:
        yield stack
    finally:
        stack.down()
        shutil.rmtree(stack.layout.folder / "data")


@pytest.fixture
async def site(suite: Stack) -> AsyncIterator[Site]:
    ports = suite.settings.ports
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
        rest = Rest(suite, http)
        person = await People(rest).new()
        yield Site(
            suite,
            rest,
            Ledger(http, f"http://127.0.0.1:{ports.sandbox}"),
            Mailbox(http, f"http://127.0.0.1:{ports.mailbox_http}"),
            person,
        )


@pytest.mark.parametrize("type", ["push", "email", "sms", "in_app", "real_time"])
async def test_every_channel(site: Site, type: str) -> None:
    feed = site.rest.service("feed")
    sent = await feed.send(type, user_id=site.person.user_id, data=data(), kind="comment")
    found = await feed.outcome(sent, within_s=30)
    assert found["state"] in {"DELIVERED", "DELIVERED_TO_PROVIDER"}
    if type == "email":
        assert (await site.mailbox.message(to=site.person.email))["subject"]
    elif type in {"push", "sms"}:
        assert (await site.ledger.effect(sent))["recipient"] in {site.person.phone, site.person.device_token}


async def test_sockets_polls_and_streams(site: Site) -> None:
    person, feed = site.person, site.rest.service("feed")
    assert person.caller.token
    async with connected(site.rest, person.caller.token) as socket:
        await socket.join(f"user:{person.user_id}")
        await feed.send("real_time", user_id=person.user_id, data=data())
        assert WORD in str(await socket.pushed("notification"))
    poller = Poller(site.rest)
    assert await poller.open(person.caller.token) == 410
    assert (await poller.ask(f"user:{person.user_id}", "phx_join", {}))["status"] == "ok"


async def test_all_parts_hear_each_other(site: Site) -> None:
    ready = (await site.rest.nobody.get("/readyz")).ok["ready"]
    assert {role.name for role in ROLES} - {"ingest-api"} == set(ready)


async def test_what_operators_see(site: Site) -> None:
    token = site.rest.operator.token
    assert token
    async with connected(site.rest, token) as socket:
        await socket.join("ops:metrics")
        assert await socket.pushed("metrics")


async def test_the_commands(site: Site) -> None:
    assert "✗" not in await site.command("doctor")
    to = f"{site.person.user_id}@heron.example"
    assert "DELIVERED_TO_PROVIDER" in await site.command("doctor", "--send-test", "email", to)
    told = await site.command("doctor", "--send-test", "push", site.person.user_id)
    assert "DELIVERED_TO_PROVIDER" in told
    sent = await site.rest.service("feed").send("email", user_id=site.person.user_id, data=data())
    await site.rest.service("feed").settled(sent, within_s=30)
    assert "is done" in await site.command("explain", sent)


async def asked(stack: Stack, name: str | None) -> grpc.StatusCode:
    """What a call of ingest-api ends with, past the gateway, with the certificate of the part `name` or in the
    clear."""
    folder = None if name is None else stack.secrets.tls(name)
    link = tls.Link(stack.address("ingest-api"), tls.Identity(folder) if folder else None, "ingest-api")
    metadata = (
        ("x-user-id", "ann"), ("x-tenant-id", "crown"), ("x-envoy-internal", "true"),
        ("x-forwarded-client-cert", "By=gateway"),
    )  # fmt: skip
    try:
        await InboxServiceStub(link.channel()).ListNotifications(
            ListNotificationsRequest(user_id="ann"), metadata=metadata, timeout=10
        )
    except grpc.aio.AioRpcError as error:
        return error.code()
    finally:
        await link.close()
    return grpc.StatusCode.OK


async def test_nobody_gets_past_the_gateway(site: Site) -> None:
    assert await asked(site.stack, None) is UNREACHED
    assert await asked(site.stack, "email") is REFUSED
    # Headers that look like the gateway's make nobody somebody, to whoever may call either.
    assert await asked(site.stack, "gateway") is UNAUTHENTICATED
    assert await asked(site.stack, "operator") is UNAUTHENTICATED
