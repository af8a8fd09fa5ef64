"""What is sent by aiosmtplib arrives, is kept, and can be read in every form."""

from __future__ import annotations

import asyncio
import json
import smtplib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiosmtplib
import pytest
from pydantic import SecretStr

from stack.mailbox import shown
from stack.mailbox.letters import Letter
from stack.mailbox.reading import read
from stack.mailbox.server import start
from stack.mailbox.settings import Settings

if TYPE_CHECKING:
    from tests.unit.stack.mailbox.conftest import Post

IDS = {"X_Crown_Notification_Id": "n-1", "X_Crown_Delivery_Id": "d-1", "Message_ID": "<d-1@crown.example>"}


async def test_a_letter_arrives_and_is_read(post: Post) -> None:
    reply = await post.send(subject="Grüße an Ann", **IDS)
    assert "kept as" in reply
    [message] = await post.kept()
    assert (message["from"], message["to"]) == ("Crown <crown@example.org>", ["ann@example.org"])
    assert message["sender"] == "crown@example.org"
    assert message["subject"] == "Grüße an Ann"
    assert (message["text"], message["html"]) == ("Hi Ann\n", "<p>Hi Ann</p>\n")
    assert (message["notification_id"], message["delivery_id"]) == ("n-1", "d-1")
    assert message["headers"]["Message-ID"] == "<d-1@crown.example>"
    assert message["id"] in reply


async def test_the_source_is_the_bytes_that_came(post: Post) -> None:
    source = b"Subject: raw\r\nX-Odd: \xff\r\n\r\n.dot\r\n8-bit: \xe4\r\n"
    async with post.client() as client:
        await client.sendmail("a@example.org", ["b@example.org"], source)
    [message] = await post.kept()
    status, text = await post.call("GET", f"/messages/{message['id']}")
    assert status == 200
    assert text["source"] == source.decode(errors="replace")
    url = f"http://127.0.0.1:{post.mailbox.http_port}/messages/{message['id']}/source"
    async with post.http.get(url) as response:
        assert await response.read() == source
        assert response.content_type == "text/plain"


async def test_an_unknown_letter_is_not_found(post: Post) -> None:
    assert await post.call("GET", "/messages/none") == (404, {"error": "no such message"})
    assert (await post.call("GET", "/messages/none/source"))[0] == 404


async def test_letters_are_found_by_person_and_notification(post: Post) -> None:
    await post.send("ann@example.org", X_Crown_Notification_Id="n-1")
    await post.send("bob@example.org", X_Crown_Notification_Id="n-2")
    await post.send("Ann@Example.org", X_Crown_Notification_Id="n-3")
    found = await post.kept(to="ann@example.org")
    assert [message["notification_id"] for message in found] == ["n-1", "n-3"]
    assert [message["to"] for message in await post.kept(notification_id="n-2")] == [["bob@example.org"]]
    assert await post.kept(to="ann@example.org", notification_id="n-2") == []
    _, page = await post.call("GET", "/messages", params={"limit": "1", "offset": "1"})
    assert ([m["notification_id"] for m in page["messages"]], page["total"]) == (["n-2"], 3)


@pytest.mark.parametrize(("query", "field"), [({"limit": "x"}, "limit"), ({"who": "ann"}, "who")])
async def test_a_bad_question_is_refused(post: Post, query: dict[str, str], field: str) -> None:
    status, body = await post.call("GET", "/messages", params=query)
    assert (status, body["field"]) == (400, field)


async def test_the_letter_is_on_file_when_the_sender_hears_of_it(post: Post) -> None:
    for number in range(10):
        await post.send(X_Crown_Notification_Id=f"n-{number}")
        assert json.loads(post.store.read_bytes().splitlines()[-1])["notification_id"] == f"n-{number}"
    assert post.store.stat().st_mode & 0o077 == 0


async def test_a_letter_that_cannot_be_kept_is_refused_for_now(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("stack.journal.Journal.append", full)
        with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
            await post.send()
    assert refusal.value.code == 451
    assert await post.kept() == []


async def test_mail_outlives_a_restart(tmp_path: Path) -> None:
    settings = Settings(smtp_port=0, http_port=0, store=tmp_path / "mail.jsonl")
    for expected in (1, 2):
        mailbox = await start(settings)
        arguments = ("crown@example.org", ["ann@example.org"], b"Subject: x\r\n\r\nHi\r\n")
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=mailbox.smtp_port) as client:
            await client.sendmail(*arguments)
        assert len((tmp_path / "mail.jsonl").read_bytes().splitlines()) == expected
        await mailbox.stop()


async def test_a_mailbox_with_a_password_wants_it() -> None:
    settings = Settings(smtp_port=0, http_port=0, user="crown", password=SecretStr("right"))
    mailbox = await start(settings)
    mail = ("a@example.org", ["b@example.org"], b"Subject: x\r\n\r\nHi\r\n")

    def client() -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(hostname="127.0.0.1", port=mailbox.smtp_port, timeout=5)

    async with client() as anonymous:
        with pytest.raises(aiosmtplib.SMTPResponseException) as refusal:
            await anonymous.sendmail(*mail)
        assert refusal.value.code == 530
    async with client() as stranger:
        with pytest.raises(aiosmtplib.SMTPAuthenticationError):
            await stranger.login("crown", "wrong")
    async with client() as known:
        await known.login("crown", "right")
        await known.sendmail(*mail)
    await mailbox.stop()


async def test_the_standard_library_can_send_too(post: Post) -> None:
    def send() -> None:
        with smtplib.SMTP("127.0.0.1", post.mailbox.smtp_port, timeout=5) as client:
            client.sendmail("a@example.org", ["b@example.org", "c@example.org"], "Subject: x\r\n\r\nHi")

    await asyncio.to_thread(send)
    [message] = await post.kept()
    assert message["to"] == ["b@example.org", "c@example.org"]


async def test_reset_throws_the_mail_away(post: Post) -> None:
    await post.send()
    await post.script(command="DATA", reply="451 4.3.0 later")
    assert await post.call("POST", "/reset") == (200, {"forgotten": 1})
    assert await post.kept() == []
    assert post.store.read_bytes() == b""
    await post.send()


async def test_the_page_is_its_own_files_and_nothing_else(post: Post) -> None:
    url = f"http://127.0.0.1:{post.mailbox.http_port}"
    for path, kind in {"/": "text/html", "/mailbox.css": "text/css", "/mailbox.js": "javascript"}.items():
        async with post.http.get(f"{url}{path}") as response:
            assert response.status == 200
            assert kind in response.headers["Content-Type"]
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert (await post.call("GET", "/../web.py"))[0] == 404
    assert await post.call("GET", "/healthz") == (200, {"status": "ok"})


async def test_the_html_of_a_mail_may_run_nothing(post: Post) -> None:
    await post.send()
    (kept,) = await post.kept()
    url = f"http://127.0.0.1:{post.mailbox.http_port}/messages/{kept['id']}/html"
    for query, images in {"": "img-src data:;", "?pictures=1": "img-src data: https: http:;"}.items():
        async with post.http.get(f"{url}{query}") as response:
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; ")
            assert images in policy
            assert policy.endswith("sandbox allow-popups allow-popups-to-escape-sandbox")
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert await response.text() == '<base target="_blank"><p>Hi Ann</p>\n'
    assert (await post.call("GET", "/messages/nothing/html"))[0] == 404


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<HTML><Head lang=x><title>a", '<HTML><Head lang=x><base target="_blank"><title>a'),
        ("<p>a<header>", '<base target="_blank"><p>a<header>'),
        ("", '<base target="_blank">'),
    ],
)
def test_links_open_beside_the_mail(text: str, expected: str) -> None:
    assert shown.html(text) == expected


async def test_what_the_page_lists(post: Post) -> None:
    await post.send("ann@example.org", subject="Grüße <b>")
    await post.send("Bob@example.org", subject="Hello")
    status, found = await post.call("GET", "/letters")
    assert (status, found["total"]) == (200, 2)
    assert [(one["to"], one["subject"], one["begins"]) for one in found["letters"]] == [
        (["Bob@example.org"], "Hello", "Hi Ann"),
        (["ann@example.org"], "Grüße <b>", "Hi Ann"),
    ]
    for search, count in {"GRÜSSE": 1, "bob@EXAMPLE": 1, "example": 2, "nobody": 0}.items():
        _, found = await post.call("GET", "/letters", params={"search": search})
        assert (len(found["letters"]), found["total"]) == (count, 2), search
    assert len((await post.call("GET", "/letters", params={"limit": "1"}))[1]["letters"]) == 1
    assert (await post.call("GET", "/letters", params={"limit": "x"}))[0] == 400
    assert (await post.call("GET", "/letters", params={"seach": "x"}))[0] == 400


ODD = {
    "empty": (b"", "", ""),
    "no header": (b"\r\njust text", "", "just text"),
    "unknown charset": (b"Content-Type: text/plain; charset=nope\r\nSubject: s\r\n\r\n\xe4", "s", "ä"),
    "broken encoded word": (b"Subject: =?utf-8?b?%%%?=\r\n\r\nx", None, "x"),
    "unknown word charset": (b"Subject: =?nope?q?x?=\r\n\r\nx", "=?nope?q?x?=", "x"),
    "folded": (b"Subject: one\r\n two\r\n\r\nx", "one two", "x"),
    "eight bits": ("Subject: Grüße\r\n\r\nx".encode(), None, "x"),
    "attachment first": (
        b"Content-Type: multipart/mixed; boundary=b\r\nSubject: s\r\n\r\n--b\r\nContent-Type: text/plain\r\n"
        b"Content-Disposition: attachment\r\n\r\nfile\r\n--b\r\n\r\nbody\r\n--b--\r\n",
        "s",
        "body",
    ),
}


@pytest.mark.parametrize(("source", "subject", "text"), ODD.values(), ids=ODD.keys())
def test_odd_mail_is_shown_all_the_same(source: bytes, subject: str | None, text: str) -> None:
    shown = read(Letter("i", "t", "s", ("r",), "", "", source.decode("latin-1")))
    assert shown.text == text
    assert subject is None or shown.subject == subject
