"""The ledger: queries, reset, and that it is on file before anybody hears of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stack.journal import Journal
from stack.sandbox.ledger import TEXT_LIMIT_CHARS, Draft, Kind, Ledger, Query

if TYPE_CHECKING:
    from tests.unit.stack.sandbox.conftest import Sandbox


def filled(journal: Journal) -> Ledger:
    ledger = Ledger(journal, clock=lambda: 1_795_000_000.25)
    for number in range(4):
        draft = Draft(recipient=f"r{number % 2}", notification_id=f"n{number}", delivery_id=f"d{number}")
        ledger.record(Kind.EFFECT, "sendgrid", draft, 202, b"", f"m{number}")
    ledger.record(Kind.REFUSAL, "twilio", Draft(recipient="r0", notification_id="n0"), 400, b'{"code":1}')
    return ledger


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (Query(), ["n0", "n1", "n2", "n3"]),
        (Query(recipient="r0"), ["n0", "n2"]),
        (Query(kind=None, recipient="r0"), ["n0", "n2", "n0"]),
        (Query(kind=Kind.REFUSAL), ["n0"]),
        (Query(notification_id="n1"), ["n1"]),
        (Query(delivery_id="d3"), ["n3"]),
        (Query(provider="twilio"), []),
        (Query(recipient="r0", notification_id="n1"), []),
        (Query(limit=2, offset=1), ["n1", "n2"]),
        (Query(limit=0), []),
        (Query(offset=9), []),
    ],
)
def test_queries(query: Query, ids: list[str]) -> None:
    entries, _ = filled(Journal(None)).page(query)
    assert [entry.notification_id for entry in entries] == ids


def test_total_counts_what_the_page_leaves_out() -> None:
    assert filled(Journal(None)).page(Query(limit=1))[1] == 4


def test_a_restart_finds_everything_and_counts_on(tmp_path: Path) -> None:
    before = filled(Journal(tmp_path / "ledger")).page(Query(kind=None))
    again = Ledger(Journal(tmp_path / "ledger"))
    assert again.page(Query(kind=None)) == before
    assert again.record(Kind.EFFECT, "fcm", Draft(), 200, b"{}").seq == 6
    assert [e.notification_id for e in again.by_message("sendgrid", "m2")] == ["n2"]


def test_one_provider_is_forgotten_on_file_too(tmp_path: Path) -> None:
    ledger = filled(Journal(tmp_path / "ledger"))
    assert ledger.clear("sendgrid") == 4
    assert [e.provider for e in ledger.page(Query(kind=None))[0]] == ["twilio"]
    assert [e.provider for e in Ledger(Journal(tmp_path / "ledger")).page(Query(kind=None))[0]] == ["twilio"]


def test_long_texts_are_cut() -> None:
    entry = Ledger(Journal(None)).record(Kind.EFFECT, "fcm", Draft(text="x" * 9_999), 200, b"")
    assert len(entry.text) == TEXT_LIMIT_CHARS


def test_times_are_utc_with_milliseconds() -> None:
    assert filled(Journal(None)).page(Query())[0][0].time == "2026-11-18T11:06:40.250Z"


async def test_a_full_disk_is_never_answered_with_success(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_journal: Journal, _line: bytes) -> None:
        raise OSError(28, "No space left on device")

    sms = {"To": "+14155550100", "From": "+15005550006", "Body": "x"}
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", full)
        assert (await sandbox.sms(**sms))[0] == 500
    assert await sandbox.entries() == []
    assert (await sandbox.sms(**sms))[0] == 201


async def test_the_line_is_on_file_when_the_answer_comes(sandbox: Sandbox) -> None:
    for number in range(20):
        await sandbox.push({"token": f"device-{number}"})
        last = json.loads(sandbox.ledger_file.read_bytes().splitlines()[-1])
        assert last["recipient"] == f"device-{number}"


async def test_only_the_owner_reads_the_file(sandbox: Sandbox) -> None:
    assert sandbox.ledger_file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "-1"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": "100001"}, "limit"),
        ({"offset": "1.5"}, "offset"),
        ({"kind": "wish"}, "kind"),
        ({"user": "ann"}, "user"),
    ],
)
async def test_a_bad_question_is_refused_by_parameter(
    sandbox: Sandbox, query: dict[str, str], field: str
) -> None:
    status, body = await sandbox.call("GET", "/ledger", params=query)
    assert (status, body["field"]) == (400, field)


async def test_the_list_is_named_for_what_it_holds(sandbox: Sandbox) -> None:
    for kind, name in (("effect", "effects"), ("refusal", "refusals"), ("all", "entries")):
        assert await sandbox.call("GET", "/ledger", params={"kind": kind}) == (200, {name: [], "total": 0})


async def test_reset_forgets_all_or_one_provider(sandbox: Sandbox) -> None:
    sms = {"To": "+14155550100", "From": "+15005550006", "Body": "x"}
    await sandbox.sms(**sms)
    await sandbox.push({"token": "device-1"})
    await sandbox.script(provider="twilio", answer={"status": 500})
    await sandbox.script(provider="fcm", answer={"status": 500})
    assert await sandbox.call("POST", "/reset", json={"provider": "twilio"}) == (200, {"forgotten": 1})
    assert [e["provider"] for e in await sandbox.entries()] == ["fcm"]
    assert (await sandbox.sms(**sms))[0] == 201
    assert (await sandbox.push({"token": "device-1"}))[0] == 500
    await sandbox.call("POST", "/twilio/inbound", json={"from": sms["To"], "body": "STOP"})
    assert (await sandbox.call("POST", "/reset"))[0] == 200
    assert await sandbox.entries(kind="all") == []
    assert (await sandbox.push({"token": "device-1"}))[0] == 200
    assert (await sandbox.sms(**sms))[0] == 201


async def test_a_bad_reset_is_refused(sandbox: Sandbox) -> None:
    status, body = await sandbox.call("POST", "/reset", json={"provider": "pigeon"})
    assert (status, body["field"]) == (400, "provider")
