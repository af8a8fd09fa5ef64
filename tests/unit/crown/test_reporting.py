"""Errors reach Sentry by its own SDK, without anything about people. A small server plays Sentry; the SDK is set up
in a process of its own, since it stays in the one that set it up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crown import __version__
from tests import ports
from tests.sentry import Sentry, listening

ROOT = Path(__file__).resolve().parents[3]
CANARY = "heron@example.org"

FAILS = """
import sys
from crown import logs, reporting, tracing

logs.set_up("email", "INFO", reporting.reporter("email", sys.argv[1]))
tracing.adopt("00-" + "a" * 32 + "-" + "b" * 16 + "-01")
logs.bind(notification_id="n1", request_id="r1")
log = logs.get("crown.somewhere")

def deep_within(address):
    secret = address.upper()
    raise ValueError("no mail for " + address, secret)

log.warning("store_away", error="X")
log.error("refused", reason="R")
try:
    deep_within("CANARY")
except ValueError as error:
    log.error("delivery_failed", channel="email", address="CANARY", exc_info=error)
reporting.flush()
""".replace("CANARY", CANARY)


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    with listening() as server:
        yield server


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout


def test_an_error_is_reported_with_what_finds_it_and_nothing_about_people(sentry: Sentry) -> None:
    printed = run(FAILS, sentry.dsn)
    assert [json.loads(line)["event"] for line in printed.splitlines()] == [
        "store_away",
        "refused",
        "delivery_failed",
    ]
    ((path, key, body),) = sentry.taken
    assert path == "/api/42/envelope/"
    assert "sentry_key=publickey" in key
    (event,) = sentry.events()
    assert event["level"] == "error"
    assert event["release"] == f"crown@{__version__}"
    assert event["server_name"] == "email"
    assert event["tags"] == {
        "event": "delivery_failed",
        "module": "crown.somewhere",
        "channel": "email",
        "notification_id": "n1",
        "request_id": "r1",
        "trace_id": "a" * 32,
    }
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ValueError", "delivery_failed")
    frames = exception["stacktrace"]["frames"]
    assert frames[-1]["function"] == "deep_within"
    assert not {"vars", "context_line", "pre_context", "abs_path"} & {name for one in frames for name in one}
    # Neither the address, nor who runs here and from where.
    assert CANARY.encode() not in body
    assert CANARY.upper().encode() not in body
    assert str(ROOT).encode() not in body
    assert not {"request", "user", "extra", "breadcrumbs", "modules", "contexts"} & event.keys()


ENDS = """
from crown import rpc
from crown.settings import ProcessSettings

async def main(settings, stopping):
    raise ExceptionGroup("CANARY", [RuntimeError("CANARY")])

rpc.run("email", ProcessSettings, main)
""".replace("CANARY", CANARY)


def test_what_a_process_ends_of_is_reported_before_it_is_gone(
    sentry: Sentry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWN_METRICS_PORT", str(ports.free()))
    monkeypatch.setenv("CROWN_BIND", "127.0.0.1")
    monkeypatch.setenv("CROWN_SENTRY_DSN", sentry.dsn)
    ended = subprocess.run([sys.executable, "-c", ENDS], cwd=ROOT, capture_output=True, timeout=60)
    assert ended.returncode == 1, ended.stderr
    (event,) = sentry.events()
    assert event["tags"]["event"] == "ended"
    assert event["exception"]["values"][-1]["type"] == "RuntimeError"
    assert CANARY.encode() not in sentry.taken[0][2]


def test_without_an_address_the_sdk_is_not_loaded(sentry: Sentry) -> None:
    assert run(FAILS + "print('sentry_sdk' in sys.modules)", "").splitlines()[-1] == "False"
    assert sentry.taken == []


def test_a_sentry_that_is_away_holds_nobody_up() -> None:
    """The line is written, and the process ends in its time."""
    assert "delivery_failed" in run(FAILS, "http://publickey@127.0.0.1:9/42")
