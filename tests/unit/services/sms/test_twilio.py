"""Twilio, against the sandbox: every row of the table in services/sms/twilio/provider.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crown.clock import now
from crown.http import Answer, Http
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from crown.rendering import Links
from services.sms.numbers import Numbers
from services.sms.text import Texts
from services.sms.twilio.provider import Twilio, outcome

Make = Callable[..., Attempt]
ACCOUNT = (f"AC{'0' * 32}", "twilio-token")
SENDER = "+15005550006"
ANN = "+14155550123"
NUMBERS = Numbers((), {"DE": "Crown"}, SENDER)
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


# Of the same words, so that its date is looked at.
TEXT = "New message\nYou have a new message from John\nhttps://crown.example/m/1"
DATELESS = {"status": 200, "body": {"messages": [{"sid": "SM1", "body": TEXT, "date_created": "soon"}]}}


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return now() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def twilio(sandbox: Any, links: Links, clock: Clock) -> AsyncIterator[Twilio]:
    client = Twilio(
        Http(timeout_s=0.5), sandbox.url, ACCOUNT, NUMBERS, Texts(links), "http://cb.example/s", clock
    )
    yield client
    await client.close()


async def test_a_text_arrives(twilio: Twilio, sandbox: Any, attempt: Make) -> None:
    found = await twilio.send(attempt(ANN, message="Grüße & 1+1 🎉"))
    (effect,) = await sandbox.effects()
    assert found == Delivered(effect["message_id"])
    assert (effect["recipient"], effect["sender"]) == (ANN, SENDER)
    assert effect["text"] == "New message\nGrüße & 1+1 🎉\nhttps://crown.example/m/1"
    assert (effect["notification_id"], effect["delivery_id"]) == ("n-1", "d" * 32)


@pytest.mark.parametrize(
    ("status_url", "ids"),
    [("", ("", "")), ("http://cb.example/s?x=1", ("n-1", "d" * 32))],
    ids=["without a status address", "one that has a query"],
)
async def test_ids_ride_in_the_status_address(
    sandbox: Any, links: Links, attempt: Make, status_url: str, ids: tuple[str, str]
) -> None:
    client = Twilio(Http(), sandbox.url, ACCOUNT, NUMBERS, Texts(links), status_url)
    assert isinstance(await client.send(attempt(ANN)), Delivered)
    (effect,) = await sandbox.effects()
    assert (effect["notification_id"], effect["delivery_id"]) == ids
    await client.close()


async def test_a_messaging_service_sends(sandbox: Any, links: Links, attempt: Make) -> None:
    client = Twilio(Http(), sandbox.url, ACCOUNT, Numbers((), {}, "MG" + "0" * 32), Texts(links))
    assert isinstance(await client.send(attempt(ANN)), Delivered)
    assert (await sandbox.effects())[0]["sender"].startswith("MG")
    await client.close()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("+15005550001", Discard("INVALID_NUMBER", "21211")),
        ("+15005550009", Discard("INVALID_NUMBER", "21614")),
        ("+15005550002", Discard("NO_ROUTE", "21612")),
        ("+15005550003", Discard("REGION_NOT_ALLOWED", "21408")),
        ("+15005550004", Discard("OPTED_OUT", "21610")),
        (SENDER, Discard("INVALID_NUMBER", "21266")),
    ],
)
async def test_numbers(twilio: Twilio, sandbox: Any, attempt: Make, number: str, expected: Outcome) -> None:
    assert await twilio.send(attempt(number)) == expected
    assert await sandbox.effects() == []


async def test_stop(twilio: Twilio, sandbox: Any, attempt: Make) -> None:
    await sandbox.http.post(f"{sandbox.url}/twilio/inbound", json={"from": ANN, "body": "STOP"})
    assert await twilio.send(attempt(ANN)) == Discard("OPTED_OUT", "21610")


@pytest.mark.parametrize(
    ("sender", "expected"),
    [("+15005550001", Retry("21212")), ("+15005550007", Retry("21606")), ("+15005550008", Snooze("21611"))],
)
async def test_a_wrong_sender_is_not_the_texts_fault(
    sandbox: Any, links: Links, attempt: Make, sender: str, expected: Outcome
) -> None:
    client = Twilio(Http(), sandbox.url, ACCOUNT, Numbers((), {}, sender), Texts(links))
    assert await client.send(attempt(ANN)) == expected
    await client.close()


@pytest.mark.parametrize(
    "account", [(ACCOUNT[0], "wrong"), ("AC" + "1" * 32, "twilio-token")], ids=["wrong token", "wrong SID"]
)
async def test_a_wrong_account(sandbox: Any, links: Links, attempt: Make, account: tuple[str, str]) -> None:
    client = Twilio(Http(), sandbox.url, account, NUMBERS, Texts(links))
    assert await client.send(attempt(ANN)) == Retry("20003")
    await client.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param({"status": 200, "body": "<p>hello"}, Unknown("200"), id="200 with garbage"),
        pytest.param({"status": 201, "body": []}, Unknown("201"), id="201 with a list"),
        pytest.param({"status": 201, "body": {"status": "queued"}}, Unknown("201"), id="201 without a sid"),
        pytest.param(
            {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}, "body": ""},
            Retry("302"),
            id="302",
        ),
        pytest.param({"status": 400}, Discard("PROVIDER_REFUSED", "20001"), id="400"),
        pytest.param(
            {"status": 400, "body": "<p>bad"}, Discard("PROVIDER_REFUSED", "400"), id="400 with garbage"
        ),
        pytest.param(
            {"status": 400, "body": {"code": 21217}}, Discard("INVALID_NUMBER", "21217"), id="21217"
        ),
        pytest.param(
            {"status": 400, "body": {"code": 21617}}, Discard("INVALID_CONTENT", "21617"), id="21617"
        ),
        pytest.param(
            {"status": 400, "body": {"type": "x", "title": "x", "status": 400, "code": 21610}},
            Discard("OPTED_OUT", "21610"),
            id="an answer by RFC 9457",
        ),
        pytest.param({"status": 401}, Retry("20003"), id="401"),
        pytest.param({"status": 403}, Retry("20001"), id="403"),
        pytest.param({"status": 404}, Retry("20404"), id="404"),
        pytest.param({"status": 429}, Snooze("20429"), id="429"),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "3"}}, Snooze("20429", 3.0), id="429 Retry-After"
        ),
        pytest.param({"status": 429, "headers": {"Retry-After": "-5"}}, Snooze("20429"), id="429 negative"),
        pytest.param({"status": 500}, Unknown("20500"), id="500"),
        pytest.param({"status": 503}, Unknown("20503"), id="503"),
        pytest.param({"status": 502, "body": "<p>bad gateway"}, Unknown("502"), id="502"),
        pytest.param({"hang": True}, Unknown("TIMEOUT"), id="no answer"),
        pytest.param({"reset": "before"}, Unknown("CONNECTION_LOST"), id="reset"),
        pytest.param({"reset": "after"}, Unknown("CONNECTION_LOST"), id="reset after the body"),
    ],
)
async def test_what_twilio_does(
    twilio: Twilio, sandbox: Any, attempt: Make, answer: dict[str, Any], expected: Outcome
) -> None:
    await sandbox.script(provider="twilio", answer=answer, times=1)
    assert await twilio.send(attempt(ANN)) == expected
    # Nothing is retried out of sight.
    assert len(await sandbox.calls()) == 1
    assert isinstance(await twilio.send(attempt(ANN)), Delivered)


async def test_nobody_listens(free_port: int, links: Links, attempt: Make) -> None:
    client = Twilio(Http(), f"http://127.0.0.1:{free_port}", ACCOUNT, NUMBERS, Texts(links))
    assert await client.send(attempt(ANN)) == Retry("CONNECT_FAILED")
    await client.close()


# -- what became of an attempt that broke off


async def test_found(twilio: Twilio, sandbox: Any, attempt: Make, clock: Clock) -> None:
    given, since = attempt(ANN), now()
    await sandbox.script(provider="twilio", answer={"reset": "after"}, times=1)
    assert isinstance(await twilio.send(given), Unknown)
    clock.ahead = timedelta(seconds=20)
    (effect,) = await sandbox.effects()
    assert await twilio.find(given, since) == Delivered(effect["message_id"])


async def test_found_on_a_later_page(
    twilio: Twilio, sandbox: Any, attempt: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.sms.twilio.provider._PAGE", 25)
    given, since = attempt(ANN), now()
    assert isinstance(await twilio.send(given), Delivered)
    for n in range(60):
        await twilio.send(attempt(ANN, message=str(n)))
    clock.ahead = timedelta(seconds=20)
    assert await twilio.find(given, since) == Delivered((await sandbox.effects())[0]["message_id"])


async def test_a_list_that_is_not_read_to_its_end_tells_nothing(
    twilio: Twilio, attempt: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.sms.twilio.provider._LISTED_MOST", 3)
    monkeypatch.setattr("services.sms.twilio.provider._PAGE", 3)
    given, since = attempt(ANN), now()
    assert isinstance(await twilio.send(given), Delivered)
    for n in range(3):
        await twilio.send(attempt(ANN, message=str(n)))
    clock.ahead = timedelta(seconds=20)
    assert await twilio.find(given, since) is None


async def test_not_found(twilio: Twilio, sandbox: Any, attempt: Make, clock: Clock) -> None:
    given, since = attempt(ANN), now()
    await sandbox.script(provider="twilio", answer={"reset": "before"}, times=1)
    assert isinstance(await twilio.send(given), Unknown)
    await twilio.send(attempt(ANN, message="another text"))
    await twilio.send(attempt("+14155550124"))
    clock.ahead = timedelta(seconds=20)
    assert await twilio.find(given, since) == Retry("NOT_LISTED")


async def test_an_earlier_text_of_the_same_words_is_another(
    twilio: Twilio, attempt: Make, clock: Clock
) -> None:
    assert isinstance(await twilio.send(attempt(ANN)), Delivered)
    clock.ahead = timedelta(minutes=10)
    assert await twilio.find(attempt(ANN), now() + timedelta(minutes=5)) == Retry("NOT_LISTED")


async def test_too_early_to_tell(twilio: Twilio, attempt: Make) -> None:
    assert await twilio.find(attempt(ANN), now()) is None


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500},
        {"status": 200, "body": "<p>hello"},
        {"status": 200, "body": []},
        {"hang": True},
        DATELESS,
    ],
    ids=["500", "garbage", "another shape", "no answer", "a text without a date"],
)
async def test_twilio_cannot_be_asked(
    twilio: Twilio, sandbox: Any, attempt: Make, clock: Clock, answer: dict[str, Any]
) -> None:
    clock.ahead = timedelta(seconds=20)
    await sandbox.script(provider="twilio", match={"method": "GET"}, answer=answer, times=1)
    assert await twilio.find(attempt(ANN), now()) is None


def test_a_status_of_its_own() -> None:
    assert outcome(Answer(418, {}, b""), NOW) == Discard("PROVIDER_REFUSED", "418")
