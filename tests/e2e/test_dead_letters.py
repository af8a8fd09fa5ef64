"""A dead letter from the provider's no to the replay that arrives: by REST, by gRPC and by `crown dlq`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import grpc
import pytest

from crown.notification.v1.dead_letter_service_pb2 import ListDeadLettersRequest
from crown.notification.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from stack.control import Stack
from stack.settings import ROOT
from tests.e2e.arrivals import Item, Ledger
from tests.e2e.people import MESSAGE, TITLE, People, Person, data
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until

LETTERS = "/api/v1/dead-letters"
# How the sandbox says that there is no such number.
REFUSED: dict[str, Any] = {"status": 400, "body": {"code": 21211, "message": "no such number", "status": 400}}


@pytest.fixture
def operator(rest: Rest) -> Caller:
    """One who runs the suite."""
    return rest.operator


async def letters(operator: Caller, query: str) -> list[Item]:
    found: list[Item] = (await operator.get(f"{LETTERS}?{query}")).ok["dead_letters"]
    return found


async def give_up(feed: Caller, ledger: Ledger, operator: Caller, person: Person) -> Item:
    """The letter of a text message whose number Twilio does not take, this once."""
    async with ledger.scripted("twilio", person.phone, **REFUSED):
        sent = await feed.send("sms", user_id=person.user_id, data=data(), kind="login_alert")
        assert (await feed.outcome(sent))["state"] == "FAILED"
    (letter,) = await until(lambda: letters(operator, f"filter.notification_id={sent}"), bool)
    return letter


async def crown(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`crown dlq …` as one types it."""
    ours = {
        "CROWN_STACK_PORT_BASE": str(stack.settings.ports.base),
        "CROWN_STACK_HOME": str(stack.settings.home),
    }
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "stack.cli", "dlq", *arguments],
        env={**os.environ, **ours}, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


async def test_by_rest(feed: Caller, operator: Caller, ledger: Ledger, person: Person, rest: Rest) -> None:
    letter = await give_up(feed, ledger, operator, person)
    sent = letter["notification_id"]
    assert (letter["state"], letter["channel"], letter["reason"]) == ("OPEN", "SMS", "PROVIDER_TERMINAL")
    assert (letter["user_id"], letter["sender"], letter["kind"]) == (person.user_id, "feed", "login_alert")
    assert (letter["provider"], letter["attempts"]) == ("twilio", 1)
    assert letter["error"].startswith("INVALID_NUMBER")
    path = f"{LETTERS}/{letter['dead_letter_id']}"
    found = (await operator.get(path)).ok
    assert (found["data"]["title"], found["data"]["message"]) == (TITLE, MESSAGE)
    assert [one["attempt"] for one in found["attempts"]] == [1]

    for caller in (feed, person.caller, rest.nobody):
        for refused in (
            await caller.get(LETTERS),
            await caller.get(path),
            await caller.post(f"{path}:replay", {}),
            await caller.post(f"{path}:discard", {}),
            await caller.post(f"{LETTERS}:replay", {"filter": {}}),
        ):
            assert refused.status == (403 if caller.token else 401)
    assert await ledger.entries(notification_id=sent) == []

    first, second = await asyncio.gather(*(operator.post(f"{path}:replay", {}) for _ in range(2)))
    assert first.ok == second.ok
    assert (first.ok["dead_letter"]["state"], first.ok["dead_letter"]["update_by"]) == ("REPLAYED", "olga")
    assert (await ledger.effect(sent))["recipient"] == person.phone
    assert (await feed.outcome(sent))["state"] == "DELIVERED_TO_PROVIDER"
    assert (await operator.post(f"{path}:replay", {})).ok == first.ok
    events = [one["event"] for one in (await operator.get(path)).ok["attempts"]]
    assert events.count("REPLAYED") == 1
    assert await letters(operator, f"filter.notification_id={sent}") == []
    (done,) = await letters(operator, f"filter.notification_id={sent}&filter.state=REPLAYED")
    assert done["dead_letter_id"] == letter["dead_letter_id"]
    assert len(await ledger.entries(notification_id=sent)) == 1


async def test_put_aside(feed: Caller, operator: Caller, ledger: Ledger, person: Person) -> None:
    letter = await give_up(feed, ledger, operator, person)
    path = f"{LETTERS}/{letter['dead_letter_id']}"
    assert (await operator.post(f"{path}:discard", {})).ok["dead_letter"]["state"] == "DISCARDED"
    refused = (await operator.post(f"{path}:replay", {})).problem
    assert (refused.status, refused.reason) == (400, "NOT_REPLAYABLE")
    assert await ledger.entries(notification_id=letter["notification_id"]) == []


async def test_many_by_rest(rest: Rest, operator: Caller, ledger: Ledger, people: People) -> None:
    shop = rest.service("shop")
    crowd = [await people.new() for _ in range(3)]
    found = [await give_up(shop, ledger, operator, person) for person in crowd]
    order: dict[str, Any] = {
        "filter": {"channel": "SMS", "kind": "login_alert", "sender": "shop"},
        "replay_id": "e2e-many",
    }
    dry = (await operator.post(f"{LETTERS}:replay", {**order, "dry_run": True})).ok["replay"]
    assert (int(dry["matched"]), dry["replay_id"]) == (3, "")
    assert (await operator.post(f"{LETTERS}:replay", order)).ok["replay"]["replay_id"] == "e2e-many"

    async def look() -> Item:
        answer: Item = (await operator.get("/api/v1/dead-letter-replays/e2e-many")).ok["replay"]
        return answer

    done = await until(look, lambda replay: replay["done"])
    assert (int(done["replayed"]), int(done["skipped"])) == (3, 0)
    for letter in found:
        await ledger.effect(letter["notification_id"])
    assert (await operator.post(f"{LETTERS}:replay", order)).ok["replay"]["done"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "filter"),
        ({"filter": {"state": "REPLAYED"}}, "filter.state"),
        ({"filter": {}, "per_second": 0}, "per_second"),
        ({"filter": {}, "per_second": 1_001}, "per_second"),
        ({"filter": {}, "replay_id": "No Way"}, "replay_id"),
    ],
)
async def test_what_is_no_replay(operator: Caller, body: dict[str, Any], field: str) -> None:
    refused = (await operator.post(f"{LETTERS}:replay", body)).problem
    assert (refused.status, list(refused.violations)) == (400, [field])


async def test_there_is_none(operator: Caller) -> None:
    for reply in (
        await operator.get(f"{LETTERS}/none:1"),
        await operator.post(f"{LETTERS}/none:1:replay", {}),
        await operator.get("/api/v1/dead-letter-replays/none"),
        await operator.post("/api/v1/dead-letter-replays/none:cancel", {}),
    ):
        assert (reply.status, reply.problem.reason) == (404, "NOT_FOUND")
    assert (await operator.get(f"{LETTERS}?cursor=made-up")).problem.violations.keys() == {"cursor"}


async def test_by_grpc(
    feed: Caller, operator: Caller, channel: grpc.aio.Channel, ledger: Ledger, person: Person
) -> None:
    letter = await give_up(feed, ledger, operator, person)
    request = ListDeadLettersRequest()
    request.filter.user_id = person.user_id
    stub = DeadLetterServiceStub(channel)
    found = await stub.ListDeadLetters(request, metadata=operator.metadata, timeout=10)
    assert [one.dead_letter_id for one in found.dead_letters] == [letter["dead_letter_id"]]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListDeadLetters(request, metadata=feed.metadata, timeout=10)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_by_the_command_line(
    stack: Stack, feed: Caller, operator: Caller, ledger: Ledger, people: People
) -> None:
    one, other, third = [await give_up(feed, ledger, operator, await people.new()) for _ in range(3)]
    named = one["dead_letter_id"]

    listed = await crown(stack, "list", "--channel", "sms", "--reason", "PROVIDER_TERMINAL", "--since", "1h")
    assert listed.returncode == 0, listed.stderr
    (line,) = [line for line in listed.stdout.splitlines() if named in line]
    assert "INVALID_NUMBER" in line
    as_json = await crown(stack, "list", "--user", one["user_id"], "--json")
    assert [row["dead_letter_id"] for row in json.loads(as_json.stdout)["dead_letters"]] == [named]

    shown = await crown(stack, "show", named)
    assert TITLE in shown.stdout
    assert "attempted" in shown.stdout

    replayed = await crown(stack, "replay", named, "--operator", "otto")
    assert replayed.returncode == 0, replayed.stderr
    await ledger.effect(one["notification_id"])
    assert "replayed by otto" in (await crown(stack, "show", named)).stdout

    assert "is discarded" in (await crown(stack, "discard", other["dead_letter_id"])).stdout
    refused = await crown(stack, "replay", other["dead_letter_id"])
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "crown: it was discarded (NOT_REPLAYABLE)\n"

    which = ("replay", "--user", third["user_id"], "--per-second", "200")
    assert "1 would be replayed" in (await crown(stack, *which, "--dry-run")).stdout
    done = await crown(stack, *which, "--wait", "--replay-id", "e2e-command")
    assert (done.returncode, done.stdout) == (0, "replay e2e-command is done: 1 of 1 replayed\n")
    await ledger.effect(third["notification_id"])
    again = await crown(stack, "status", "e2e-command")
    assert again.stdout == done.stdout

    missing = await crown(stack, "show", "none:1")
    assert (missing.returncode, missing.stderr) == (
        1,
        "crown: there is no dead letter with this id (NOT_FOUND)\n",
    )
