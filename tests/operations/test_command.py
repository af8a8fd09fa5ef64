"""The `crown` command as people type it, against the whole suite: sending, following, watching, schedules, a doctor
that says what to do."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping

import pytest

from stack.control import Stack
from tests.e2e.forgery import signed
from tests.e2e.people import People
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until

LIMIT_S = 100.0


def environment(stack: Stack, given: Mapping[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "CROWN_STACK_PORT_BASE": str(stack.settings.ports.base),
        "CROWN_STACK_HOME": str(stack.settings.home),
        **given,
    }


async def crown(stack: Stack, *arguments: str, **given: str) -> tuple[int, str]:
    """Exit status, and all that was printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stack.cli", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(stack, given),
    )
    async with asyncio.timeout(LIMIT_S):
        text, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, text.decode()


async def test_send_follows_until_all_is_final(stack: Stack, people: People) -> None:
    person = await people.new()
    status, text = await crown(
        stack, "send", "--user", person.user_id, "--type", "sms", "--title", "Hi", "-f"
    )
    assert status == 0, text
    assert "the provider took it" in text


async def test_send_with_a_key_is_one_notification(stack: Stack, people: People) -> None:
    person = await people.new()
    command = ("send", "--user", person.user_id, "--type", "in_app", "--title", "Hi", "--key", person.user_id)
    first, second = await crown(stack, *command), await crown(stack, *command)
    assert first == second
    assert first[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--user", "a b", "--title", "Hi"), "user_id"),
        (("--user", "a", "--type", "pigeon"), "type"),
        (("--json", "[]"), "--json: an object is needed"),
        (("--json", "{"), "--json: "),
        (("--json", '{"nonsense": 1}'), "nonsense"),
    ],
)
async def test_send_says_what_is_wrong(stack: Stack, arguments: tuple[str, ...], words: str) -> None:
    status, text = await crown(stack, "send", *arguments)
    assert status == 1
    assert words in text
    assert "Traceback" not in text


async def test_tail_tells_of_one_notification_as_it_happens(
    stack: Stack, people: People, feed: Caller
) -> None:
    person = await people.new()
    watching = asyncio.create_task(crown(stack, "tail", "--user", person.user_id, "--json", "-n", "1"))
    sent = 0
    while not watching.done():
        # Until it listens nobody tells it anything.
        await feed.send(type="push", user_id=person.user_id, data={"title": "Hi"})
        sent += 1
        await asyncio.wait({watching}, timeout=1)
        assert sent < LIMIT_S
    status, text = await watching
    assert (status, json.loads(text)["userId"], json.loads(text)["channel"]) == (0, person.user_id, "PUSH")


async def test_tail_knows_its_channels(stack: Stack) -> None:
    status, text = await crown(stack, "tail", "--channel", "pigeon")
    assert status == 1
    assert "--channel: must be one of email" in text


async def test_a_schedule_is_held_let_go_on_and_run(stack: Stack, people: People, feed: Caller) -> None:
    person = await people.new()
    made = await feed.post(
        "/api/v1/schedules",
        {
            "name": "weekly",
            "cron": "0 9 * * 1",
            "notification": {"type": "in_app", "user_id": person.user_id, "data": {"title": "Hi"}},
        },
    )
    schedule = made.ok["schedule"]["schedule_id"]
    try:
        status, text = await crown(stack, "schedules", "list")
        (row,) = (line for line in text.splitlines() if schedule in line)
        assert (status, "active" in row, "0 9 * * 1" in row) == (0, True, True)
        assert (await crown(stack, "schedules", "pause", schedule))[0] == 0
        assert json.loads((await crown(stack, "schedules", "show", schedule))[1])["state"] == "PAUSED"
        assert "goes on: next " in (await crown(stack, "schedules", "resume", schedule))[1]
        status, notification = await crown(stack, "schedules", "run", schedule)
        assert status == 0, notification
        status, text = await crown(stack, "explain", notification.strip())
        assert (status, person.user_id in text) == (0, True), text
    finally:
        await feed.request("DELETE", f"/api/v1/schedules/{schedule}")
    status, text = await crown(stack, "schedules", "show", schedule)
    assert (status, "NOT_FOUND" in text) == (1, True)


async def test_tokens_that_were_stolen_are_revoked(stack: Stack, rest: Rest) -> None:
    stolen = rest.holder(signed(stack, sub="pumped", iat=int(time.time()) - 5))
    path = "/api/v1/users/pumped/notifications"
    assert (await stolen.get(path)).status == 200
    status, text = await crown(stack, "revoke", "--service", "pumped")
    assert status == 0, text
    await until(lambda: stolen.get(path), lambda answer: answer.status == 401)
    assert (await crown(stack, "revoke", "--user", "pumped", "--session", "phone"))[0] == 0
    for wrong in ((), ("--service", "a", "--operator", "b"), ("--service", "a", "--session", "b")):
        status, text = await crown(stack, "revoke", *wrong)
        assert (status, "name one of" in text) == (1, True), text


async def test_the_doctor_says_what_is_wrong(stack: Stack) -> None:
    away = "nats://127.0.0.1:9", "redis://127.0.0.1:9"
    status, text = await crown(
        stack, "doctor", CROWN_EMAIL_PROVIDERS="pigeon", NATS_URL=away[0], REDIS_HOST=away[1]
    )
    assert status == 1
    for words in (
        "CROWN_EMAIL_PROVIDERS: must list",
        "nats            cannot be reached",
        "redis           cannot be reached",
    ):
        assert words in text
    assert "Traceback" not in text


async def test_the_doctor_looks_at_all_of_it(stack: Stack) -> None:
    status, text = await crown(stack, "doctor")
    assert status == 0, text
    for name in ("configuration", "nats", "streams", "mongodb", "replica set", "indexes", "clock", "redis"):
        assert f"✓ {name}" in text
