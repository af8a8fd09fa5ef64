"""Scripted behaviour: what the caller sees, and what stands in the ledger by then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.unit.stack.sandbox.conftest import Sandbox

MAIL: dict[str, Any] = {
    "personalizations": [{"to": [{"email": "ann@example.org"}], "custom_args": {"notification_id": "n-1"}}],
    "from": {"email": "crown@example.org"},
    "subject": "Hello",
    "content": [{"type": "text/plain", "value": "Hi"}],
}
SMS = {"To": "+14155550100", "From": "+15005550006", "Body": "x"}


def mail_to(address: str) -> dict[str, Any]:
    return {**MAIL, "personalizations": [{"to": [{"email": address}]}]}


async def test_a_status_gets_the_providers_own_body_and_no_effect(sandbox: Sandbox) -> None:
    answer = {"status": 429, "headers": {"Retry-After": "3"}}
    await sandbox.script(provider="twilio", times=1, answer=answer)
    path = f"/2010-04-01/Accounts/{sandbox.twilio_sid}/Messages.json"
    headers = {"Authorization": aiohttp.encode_basic_auth(sandbox.twilio_sid, sandbox.twilio_token)}
    async with sandbox.http.post(sandbox.url + path, data=SMS, headers=headers) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "3"
        assert (await response.json())["code"] == 20429
    assert await sandbox.entries() == []
    [entry] = await sandbox.entries(kind="refusal")
    assert (entry["status"], entry["recipient"]) == (429, SMS["To"])
    assert (await sandbox.sms(**SMS))[0] == 201


@pytest.mark.parametrize(
    ("status", "code"), [(401, "THIRD_PARTY_AUTH_ERROR"), (429, "QUOTA_EXCEEDED"), (503, "UNAVAILABLE")]
)
async def test_fcm_puts_its_code_into_a_bare_status(sandbox: Sandbox, status: int, code: str) -> None:
    await sandbox.script(provider="fcm", answer={"status": status})
    answer, body = await sandbox.push({"token": "device-1"})
    assert answer == status
    assert body["error"]["details"][0]["errorCode"] == code


async def test_behaviours_are_used_in_order(sandbox: Sandbox) -> None:
    await sandbox.script(provider="sendgrid", times=2, answer={"status": 500})
    await sandbox.script(provider="sendgrid", times=1, answer={"status": 503})
    assert [(await sandbox.mail(MAIL))[0] for _ in range(4)] == [500, 500, 503, 202]


async def test_without_times_it_stays_until_cleared(sandbox: Sandbox) -> None:
    await sandbox.script(provider="sendgrid", answer={"status": 500})
    assert [(await sandbox.mail(MAIL))[0] for _ in range(3)] == [500, 500, 500]
    await sandbox.script(provider="sendgrid", clear=True)
    assert (await sandbox.mail(MAIL))[0] == 202


async def test_only_what_matches_is_touched(sandbox: Sandbox) -> None:
    await sandbox.script(provider="sendgrid", match={"recipient": "bob@example.org"}, answer={"status": 500})
    await sandbox.script(provider="sendgrid", match={"notification_id": "n-1"}, answer={"status": 503})
    assert (await sandbox.mail(mail_to("bob@example.org")))[0] == 500
    assert (await sandbox.mail(mail_to("eve@example.org")))[0] == 202
    assert (await sandbox.mail(MAIL))[0] == 503


async def test_a_refused_call_uses_no_script(sandbox: Sandbox) -> None:
    await sandbox.script(provider="sendgrid", times=1, answer={"status": 503})
    assert (await sandbox.mail({**MAIL, "subject": ""}))[0] == 400
    assert (await sandbox.mail(MAIL))[0] == 503


async def test_garbage_under_200_is_an_effect(sandbox: Sandbox) -> None:
    await sandbox.script(provider="fcm", answer={"status": 200, "body": "<html>oops"})
    assert await sandbox.push({"token": "device-1"}) == (200, "<html>oops")
    assert [e["answer"] for e in await sandbox.entries()] == ["<html>oops"]


async def test_a_body_of_ones_own(sandbox: Sandbox) -> None:
    body = {"error": {"status": "INTERNAL"}}
    await sandbox.script(provider="fcm", answer={"status": 500, "body": body})
    assert await sandbox.push({"token": "device-1"}) == (500, body)


async def test_an_error_may_have_an_effect_all_the_same(sandbox: Sandbox) -> None:
    await sandbox.script(provider="sendgrid", answer={"status": 500, "effect": True})
    assert (await sandbox.mail(MAIL))[0] == 500
    assert [e["status"] for e in await sandbox.entries()] == [500]


async def test_a_reset_after_leaves_an_effect(sandbox: Sandbox) -> None:
    await sandbox.script(provider="sendgrid", times=1, answer={"reset": "after"})
    with pytest.raises(aiohttp.ClientConnectionError):
        await sandbox.mail(MAIL)
    [entry] = await sandbox.entries(notification_id="n-1")
    assert (entry["status"], entry["answer"]) == (0, "connection reset")


async def test_a_reset_before_leaves_none(sandbox: Sandbox) -> None:
    await sandbox.script(provider="sendgrid", times=1, answer={"reset": "before"})
    with pytest.raises(aiohttp.ClientConnectionError):
        await sandbox.mail(MAIL)
    assert await sandbox.entries() == []
    assert [e["status"] for e in await sandbox.entries(kind="refusal")] == [0]


async def test_an_ambiguous_sms_is_in_the_list(sandbox: Sandbox) -> None:
    await sandbox.script(provider="twilio", times=1, answer={"reset": "after"})
    with pytest.raises(aiohttp.ClientConnectionError):
        await sandbox.sms(**SMS)
    headers = {"Authorization": aiohttp.encode_basic_auth(sandbox.twilio_sid, sandbox.twilio_token)}
    path = f"/2010-04-01/Accounts/{sandbox.twilio_sid}/Messages.json"
    _, body = await sandbox.call("GET", path, params={"To": SMS["To"]}, headers=headers)
    assert [message["body"] for message in body["messages"]] == ["x"]


@pytest.mark.parametrize(("effect", "count"), [(False, 0), (True, 1)])
async def test_a_hang_is_recorded_at_once_and_gives_no_answer(
    sandbox: Sandbox, effect: bool, count: int
) -> None:
    await sandbox.script(provider="sendgrid", times=1, answer={"hang": True, "effect": effect})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await sandbox.mail(MAIL)
    assert len(await sandbox.entries()) == count
    assert [e["answer"] for e in await sandbox.entries(kind="all")] == ["hung"]


async def test_a_late_answer_is_recorded_before_the_wait(sandbox: Sandbox) -> None:
    await sandbox.script(provider="sendgrid", times=2, answer={"delay_s": 0.2})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await sandbox.mail(MAIL)
    assert len(await sandbox.entries()) == 1
    assert (await sandbox.mail(MAIL))[0] == 202


async def test_the_token_endpoint_is_scripted_too(sandbox: Sandbox) -> None:
    await sandbox.script(provider="oauth", times=1, answer={"status": 503})
    assert (await sandbox.token())[0] == 503
    assert [e["status"] for e in await sandbox.entries(kind="refusal", provider="oauth")] == [503]
    assert (await sandbox.token())[0] == 200


async def test_questions_are_scripted_only_when_named(sandbox: Sandbox) -> None:
    headers = {"Authorization": aiohttp.encode_basic_auth(sandbox.twilio_sid, sandbox.twilio_token)}
    path = f"/2010-04-01/Accounts/{sandbox.twilio_sid}/Messages.json"
    await sandbox.script(provider="twilio", times=1, answer={"status": 500})
    assert (await sandbox.call("GET", path, headers=headers))[0] == 200
    await sandbox.script(provider="twilio", match={"method": "GET"}, times=1, answer={"status": 500})
    assert (await sandbox.call("GET", path, headers=headers))[0] == 500


async def test_what_is_queued_can_be_read(sandbox: Sandbox) -> None:
    await sandbox.script(provider="fcm", times=2, answer={"status": 503})
    await sandbox.push({"token": "device-1"})
    _, body = await sandbox.call("GET", "/script")
    [order] = body["scripts"]
    assert (order["provider"], order["times"], order["answer"]["status"]) == ("fcm", 1, 503)


BAD: dict[str, tuple[Any, str]] = {
    "no provider": ({"answer": {"status": 500}}, "provider"),
    "unknown provider": ({"provider": "pigeon", "answer": {}}, "provider"),
    "unknown field": ({"provider": "fcm", "answer": {"colour": 1}}, "answer.colour"),
    "status out of range": ({"provider": "fcm", "answer": {"status": 99}}, "answer.status"),
    "status as text": ({"provider": "fcm", "answer": {"status": "500"}}, "answer.status"),
    "no times": ({"provider": "fcm", "times": 0, "answer": {}}, "times"),
    "unknown match": ({"provider": "fcm", "match": {"who": "x"}, "answer": {}}, "match.who"),
    "long delay": ({"provider": "fcm", "answer": {"delay_s": 301}}, "answer.delay_s"),
    "unknown reset": ({"provider": "fcm", "answer": {"reset": "maybe"}}, "answer.reset"),
    "hang and reset": ({"provider": "fcm", "answer": {"hang": True, "reset": "after"}}, "answer.reset"),
    "hang and status": ({"provider": "fcm", "answer": {"hang": True, "status": 200}}, "answer.status"),
    "reset and body": ({"provider": "fcm", "answer": {"reset": "after", "body": "x"}}, "answer.status"),
    "effect of nothing": (
        {"provider": "fcm", "answer": {"reset": "before", "effect": True}},
        "answer.effect",
    ),
    "header over lines": ({"provider": "fcm", "answer": {"headers": {"A": "b\nc"}}}, "answer.headers"),
    "header of ours": ({"provider": "fcm", "answer": {"headers": {"content-length": "9"}}}, "answer.headers"),
    "neither": ({"provider": "fcm"}, "answer"),
    "both": ({"provider": "fcm", "answer": {}, "clear": True}, "answer"),
}


@pytest.mark.parametrize(("order", "field"), BAD.values(), ids=BAD.keys())
async def test_a_bad_script_is_refused_by_field(sandbox: Sandbox, order: Any, field: str) -> None:
    status, body = await sandbox.call("POST", "/script", json=order)
    assert (status, body["field"]) == (400, field)
    assert body["error"]


async def test_a_script_that_is_no_json_is_refused(sandbox: Sandbox) -> None:
    assert (await sandbox.call("POST", "/script", data=b"{"))[0] == 400
