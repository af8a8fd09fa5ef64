"""`crown demo`: prints what arrived, and nothing that did not."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from stack.commands import demo
from stack.control import Stack
from stack.seed import seed
from stack.settings import ROOT
from tests.e2e.arrivals import Ledger, Mailbox
from tests.e2e.rest import Rest

_ROW = re.compile(
    r"^(?P<type>\w+) +[\d.]+ ms +[\d.]+ ms +(?P<id>[0-9a-f-]{36}) +(?P<where>.+)$", re.MULTILINE
)
_PREFERENCES = f"/api/v1/users/{demo.USER}/notification-preferences"


@pytest.fixture(scope="module", autouse=True)
def seeded(stack: Stack, rest: Rest) -> None:
    """The people of the examples, as `crown up` writes them."""
    seed(rest.address, stack.token(service="stack"))


def _run(stack: Stack, base: int) -> subprocess.CompletedProcess[str]:
    ours = {"CROWN_STACK_PORT_BASE": str(base), "CROWN_STACK_HOME": str(stack.settings.home)}
    return subprocess.run(
        [sys.executable, "-m", "stack.cli", "demo"],
        env={**os.environ, **ours},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_five_arrive_where_the_demo_says(
    stack: Stack, rest: Rest, ledger: Ledger, mailbox: Mailbox
) -> None:
    ran = _run(stack, stack.settings.ports.base)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = {row["type"]: row for row in _ROW.finditer(ran.stdout)}
    assert rows.keys() == {"real_time", "push", "email", "sms", "in_app"}
    assert "\x1b" not in ran.stdout
    for type_, provider in (("push", "fcm"), ("sms", "twilio")):
        effect = await ledger.effect(rows[type_]["id"])
        assert effect["provider"] == provider
        assert effect["recipient"] in rows[type_]["where"]
    assert (await mailbox.message(notification_id=rows["email"]["id"]))["to"] == ["user123@crown.example"]
    listed = (await rest.user(demo.USER).history(demo.USER))["notifications"]
    assert rows["in_app"]["id"] in {entry["notification_id"] for entry in listed}


async def test_what_does_not_arrive_is_named_with_its_state(
    stack: Stack, rest: Rest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "ARRIVAL_LIMIT_S", 1.0)
    user = rest.user(demo.USER)
    (await user.put(_PREFERENCES, {"categories": {"activity": {"sms": False}}})).ok  # noqa: B018 -- it asserts
    shown = io.StringIO()
    try:
        missing = await demo.tour(stack, Console(file=shown, width=160))
    finally:
        await user.put(_PREFERENCES, {"categories": {}})
    assert len(missing) == 1
    assert re.fullmatch(r"sms \([0-9a-f-]{36}: SUPPRESSED PREFERENCE_OFF\)", missing[0])
    assert {row["type"] for row in _ROW.finditer(shown.getvalue())} == {
        "real_time",
        "push",
        "email",
        "in_app",
    }


def test_without_a_stack_it_says_so(stack: Stack) -> None:
    ran = _run(stack, 18990)
    assert ran.returncode == 1
    assert ran.stderr == "crown: the stack is not up: `crown up` first\n"
