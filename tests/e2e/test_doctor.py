"""`crown doctor`: one message through the provider that is configured, and what that answered."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from stack.control import Stack
from tests.e2e.arrivals import Ledger
from tests.e2e.people import People
from tests.e2e.rest import Rest


async def doctor(stack: Stack, *arguments: str) -> tuple[int, str]:
    """Exit status, and all that was printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stack.cli",
        "doctor",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ,
            "CROWN_STACK_PORT_BASE": str(stack.settings.ports.base),
            "CROWN_STACK_HOME": str(stack.settings.home),
        },
    )
    assert process.stdout is not None
    text = (await process.stdout.read()).decode()
    return await process.wait(), text


def facts(text: str) -> dict[str, str]:
    return {line[:14].strip(): line[14:] for line in text.splitlines()}


async def test_all_is_well(stack: Stack) -> None:
    status, text = await doctor(stack)
    assert (status, text.count("✗")) == (0, 0), text
    assert "a stand-in on this machine" in text


async def test_a_text_arrives_and_the_receipt_is_shown(stack: Stack, ledger: Ledger) -> None:
    status, text = await doctor(stack, "--send-test", "sms", "+12025550177")
    found = facts(text)
    assert (status, found["provider"], found["state"]) == (0, "twilio", "DELIVERED_TO_PROVIDER"), text
    effects = await ledger.entries(recipient="+12025550177")
    assert [effect["message_id"] for effect in effects] == [found["message id"]]


async def test_a_person_is_reached_on_all_devices(stack: Stack, people: People, ledger: Ledger) -> None:
    person = await people.new()
    status, text = await doctor(stack, "--send-test", "push", person.user_id)
    assert (status, facts(text)["provider"]) == (0, "fcm"), text
    assert len(await ledger.entries(recipient=person.device_token)) == 1


async def test_a_browser_is_reached_by_its_subscription(stack: Stack, rest: Rest, ledger: Ledger) -> None:
    sandbox = f"http://localhost:{stack.settings.ports.sandbox}"
    async with rest.http.post(f"{sandbox}/web-push/subscriptions") as answer:
        subscription = await answer.json()
    status, text = await doctor(stack, "--send-test", "push", json.dumps(subscription))
    assert status == 0, text
    (effect,) = await ledger.entries(recipient=subscription["endpoint"])
    assert json.loads(effect["text"])["title"] == "Crown test"


@pytest.mark.parametrize(
    ("channel", "to", "expected"),
    [
        ("sms", "+15005550001", {"refused": "PROVIDER_REFUSED", "code": "21211", "provider": "twilio"}),
        ("sms", "+8612345678901", {"refused": "INVALID_REQUEST", "hint": "Name the country"}),
        ("push", "unregistered-device", {"why": "UNREGISTERED", "hint": "The device does not have"}),
        ("email", "nobody", {"to": "must be one e-mail address"}),
    ],
)
async def test_a_refusal_is_shown_with_what_to_do(
    stack: Stack, channel: str, to: str, expected: dict[str, str]
) -> None:
    status, text = await doctor(stack, "--send-test", channel, to)
    found = facts(text)
    assert status == 1
    assert {name: found.get(name, "")[: len(value)] for name, value in expected.items()} == expected
