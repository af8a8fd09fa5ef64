"""What comes without a token: links of mails, in browsers and mail programs, and SendGrid's callbacks."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest
from google.api.httpbody_pb2 import HttpBody

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.integration.gateway.conftest import Call, Context, Gateway

LINK = "/unsubscribe/AbC-_dEf"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "accept-language": "de"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(autouse=True)
def pages(gateway: Gateway) -> None:
    async def answer(_call: Call, context: Context) -> Message:
        await context.send_initial_metadata((("referrer-policy", "no-referrer"), ("x-crown-page", "yes")))
        page: Message = HttpBody(content_type="text/html; charset=utf-8", data=b"<p>Hello")
        return page

    gateway.backend.answers["ShowUnsubscribe"] = gateway.backend.answers["Unsubscribe"] = answer


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("headers", [BROWSER, {}], ids=["browser", "program"])
async def test_a_page_is_passed_on_as_it_is(gateway: Gateway, method: str, headers: dict[str, str]) -> None:
    form = {"data": b"List-Unsubscribe=One-Click"} if method == "POST" else {}
    more = FORM if method == "POST" else {}
    reply = await gateway.send(method, LINK, token=None, headers={**headers, **more}, **form)
    assert (reply.status, reply.body) == (200, b"<p>Hello")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["referrer-policy"] == "no-referrer"
    [call] = gateway.backend.calls
    assert call.message.token == "AbC-_dEf"
    assert call.metadata.get("accept-language") == headers.get("accept-language")
    if method == "POST":
        assert call.message.body.data == b"List-Unsubscribe=One-Click"


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/plain", ""])
async def test_a_mail_program_posts_what_it_likes(gateway: Gateway, kind: str) -> None:
    reply = await gateway.send(
        "POST", LINK, token=None, data=b"x", headers={"content-type": kind} if kind else {}
    )
    assert reply.status == 200
    assert [call.rpc for call in gateway.backend.calls] == ["Unsubscribe"]


@pytest.mark.parametrize("status", ["404", "503"])
async def test_a_page_has_the_status_that_the_service_names(gateway: Gateway, status: str) -> None:
    async def answer(_call: Call, context: Context) -> Message:
        await context.send_initial_metadata((("x-crown-status", status),))
        page: Message = HttpBody(content_type="text/html; charset=utf-8", data=b"<p>No")
        return page

    gateway.backend.answers["ShowUnsubscribe"] = answer
    reply = await gateway.send("GET", LINK, token=None, headers=BROWSER)
    assert (reply.status, reply.body) == (int(status), b"<p>No")
    assert "x-crown-status" not in reply.headers


async def test_scanners_that_ask_for_the_head_change_nothing(gateway: Gateway) -> None:
    for method in ("HEAD", "OPTIONS", "PUT", "DELETE"):
        assert (await gateway.send(method, LINK, token=None)).status == 405
    assert gateway.backend.calls == []


@pytest.mark.parametrize("path", [f"{LINK}?utm_source=x", f"{LINK}/x", "/unsubscribe/"])
async def test_other_paths(gateway: Gateway, path: str) -> None:
    for method in ("GET", "POST"):
        reply = await gateway.send(method, path, token=None)
        assert reply.status in {400, 404, 415}
        assert reply.json["code"] in {3, 5}
        page = await gateway.send(method, path, token=None, headers=BROWSER)
        assert (page.status, page.headers["content-type"]) == (reply.status, "text/html; charset=utf-8")
        assert "<h1>This link does not work</h1>" in page.text
        assert "width:100%;" in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert gateway.backend.calls == []


async def test_the_service_is_away(gateway: Gateway) -> None:
    async with gateway.backend.without("EMAIL_ADDRESS"):
        page = await gateway.send("GET", LINK, token=None, headers=BROWSER)
        assert (page.status, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert "<h1>Not now</h1>" in page.text
        assert (await gateway.send("GET", LINK, token=None)).json["code"] == 14


async def test_a_large_body_is_cut_off(gateway: Gateway) -> None:
    reply = await gateway.send("POST", LINK, token=None, data=b"x" * 20_000, headers=FORM)
    assert reply.status == 413
    assert gateway.backend.calls == []


async def test_the_log_does_not_tell_links(gateway: Gateway) -> None:
    """Whoever reads one there could unsubscribe somebody."""
    secret = "S3cretLink"
    for path in (f"/unsubscribe/{secret}", f"/unsubscribe/{secret}/x", f"/unsubscribe/{secret}?x=1"):
        await gateway.send("GET", path, token=None)

    def lines() -> list[dict[str, object]]:
        text = gateway.log.read_text()
        assert secret not in text
        found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [line for line in found if line.get("path") == "/unsubscribe/"]

    for _ in range(100):
        if len(lines()) >= 3:
            break
        await asyncio.sleep(0.05)
    assert len(lines()) >= 3
    assert all(line["path"] == "/unsubscribe/" and line["status"] for line in lines())


SIGNED = {
    "x-twilio-email-event-webhook-signature": "MEUC+/=",
    "x-twilio-email-event-webhook-timestamp": "1795600000",
    "content-type": "application/json",
}


@pytest.mark.parametrize(
    "body",
    [b'[{"a": 1}]\r\n', b"no json \x00\xff", b" [\n ] ", b"x" * (1 << 20)],
    ids=["list", "bytes", "spaces", "1 MiB"],
)
async def test_what_sendgrid_posts_arrives_byte_by_byte(gateway: Gateway, body: bytes) -> None:
    reply = await gateway.send("POST", "/webhooks/sendgrid", token=None, data=body, headers=SIGNED)
    assert reply.status == 200
    [call] = gateway.backend.calls
    assert (call.rpc, call.message.body.data) == ("ReceiveSendGridEvents", body)
    assert {name: call.metadata[name] for name in SIGNED if name.startswith("x-")} == {
        name: value for name, value in SIGNED.items() if name.startswith("x-")
    }


async def test_ten_megabytes(gateway: Gateway) -> None:
    """It may be answered before all of it was written."""
    sent = gateway.send(
        "POST", "/webhooks/sendgrid", token=None, data=io.BytesIO(bytes(10 << 20)), headers=SIGNED
    )
    with contextlib.suppress(aiohttp.ClientConnectionError):
        assert (await sent).status == 413
    assert gateway.backend.calls == []
