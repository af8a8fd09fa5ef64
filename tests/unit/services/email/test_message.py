"""What an e-mail says, and what it refuses to say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category
from crown.outcome import Discard
from crown.provider import Attempt
from crown.rendering import Links
from services.email.message import Composer, Letterhead, Mail
from services.email.mime import render
from services.email.unsubscribe_link import UnsubscribeLinks

Make = Callable[..., Attempt]
LETTERHEAD = Letterhead(
    "Crown", "notifications@crown.example", Links("https://crown.example", ("crown.example",))
)


class Page(HTMLParser):
    """The texts and links of a page, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


async def composed(attempt: Attempt) -> Mail:
    mail = await Composer(LETTERHEAD).compose(attempt)
    assert isinstance(mail, Mail)
    return mail


async def test_a_mail(attempt: Make) -> None:
    mail = await composed(attempt("ann@Example.org"))
    assert mail.to == "ann@example.org"
    assert mail.subject == "New message"
    assert mail.text == (
        "Crown\n\nNew message\n\nYou have a new message from John\n\nOpen:\nhttps://crown.example/m/1\n\n"
        "You are getting this because somebody wants to be in touch with you at Crown.\n"
    )
    page = Page(mail.html)
    assert "You have a new message from John" in page.texts
    assert page.links == ["https://crown.example/m/1"]


async def test_the_same_message_id_for_every_attempt(attempt: Make) -> None:
    first, second = [await composed(attempt("ann@example.org", number=n)) for n in (1, 2)]
    assert first.message_id == second.message_id == f"<{'d' * 32}@crown.example>"


async def test_one_click_unsubscribes(attempt: Make) -> None:
    links = UnsubscribeLinks({"k": b"k" * 32}, "https://api.crown.example")
    letterhead = replace(LETTERHEAD, unsubscribe=links)
    for category in Category.Type.values():
        given = attempt("ann@example.org", category=category, user_id="u" * 128)
        mail = await Composer(letterhead).compose(given)
        assert isinstance(mail, Mail)
        read = read_back(render(mail, letterhead, given.create_time))
        url = links.url("u" * 128, category)
        if category in {Category.CATEGORY_UNSPECIFIED, Category.SECURITY}:
            assert read["List-Unsubscribe"] is read["List-Unsubscribe-Post"] is None
        else:
            assert read["List-Unsubscribe"] == f"<{url}>"
            assert read["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


async def test_the_same_bytes_for_every_attempt(attempt: Make) -> None:
    links = UnsubscribeLinks({"k": b"k" * 32}, "https://api.crown.example")
    letterhead = replace(LETTERHEAD, unsubscribe=links)
    one, two = [await composed_with(letterhead, attempt("ann@example.org", number=n)) for n in (1, 2)]
    assert one == two


async def composed_with(letterhead: Letterhead, attempt: Attempt) -> bytes:
    mail = await Composer(letterhead).compose(attempt)
    assert isinstance(mail, Mail)
    return render(mail, letterhead, attempt.create_time)


async def test_without_a_title_the_first_line_is_the_subject(attempt: Make) -> None:
    mail = await composed(attempt("ann@example.org", title="", message="\n  Hello\tAnn \nand more"))
    assert mail.subject == "Hello Ann"


async def test_a_long_first_line_is_cut(attempt: Make) -> None:
    mail = await composed(attempt("ann@example.org", title="", message="x" * 8_000))
    assert len(mail.subject) == 200


@pytest.mark.parametrize(
    "address", ["ann", "ann@example.org, eve@example.net", "ann@example.org\r\nBcc: e@example.net"]
)
async def test_no_address(attempt: Make, address: str) -> None:
    assert await Composer(LETTERHEAD).compose(attempt(address)) == Discard("INVALID_ADDRESS", "email.address")


@pytest.mark.parametrize(
    "character", ["\r", "\n", "\r\n", "\x0b", "\x0c", "\x00", "\x1c", "\x85", "\u2028", "\u2029"]
)
@pytest.mark.parametrize("where", ["title", "notification_id", "delivery_id"])
async def test_nothing_breaks_a_header(attempt: Make, where: str, character: str) -> None:
    given = {where: f"x{character}Bcc: eve@example.net"}
    assert await Composer(LETTERHEAD).compose(attempt("ann@example.org", **given)) == Discard(
        "INVALID_CONTENT", "header.break"
    )


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "http://crown.example/x",
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://evil.example/",
        "https://crown.example@evil.example/",
        "https://crown.example\\@evil.example/",
        "/x\ny",
        "data:text/html,x",
    ],
)
async def test_an_unsafe_link_is_not_rendered(attempt: Make, url: str) -> None:
    mail = await composed(attempt("ann@example.org", action_url=url, image_url=url))
    assert Page(mail.html).links == []
    assert url not in mail.text


async def test_a_picture(attempt: Make) -> None:
    mail = await composed(attempt("ann@example.org", image_url="https://img.crown.example/a.png?x=1&y=2"))
    assert "https://img.crown.example/a.png?x=1&y=2" in Page(mail.html).links


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=60))
def test_every_link_leads_to_the_app(url: str) -> None:
    link = LETTERHEAD.links.action(url)
    assert link == "" or urlsplit(link).hostname == "crown.example"


def read_back(raw: bytes) -> EmailMessage:
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.isascii()
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", raw)
    read = message_from_bytes(raw, policy=default)
    assert isinstance(read, EmailMessage)
    assert not any(part.defects for part in read.walk())
    return read


async def test_it_is_read_back_with_one_recipient_and_no_header_of_others(attempt: Make) -> None:
    given = attempt("ann@example.org", title="Grüße 🎉 " + "x" * 150, message=".\n..dots\n\u2028 and <b>")
    mail = await composed(given)
    read = read_back(render(mail, LETTERHEAD, given.create_time))
    assert read["To"] == "ann@example.org"
    assert read["From"] == "Crown <notifications@crown.example>"
    assert read["Subject"] == mail.subject
    assert read["Message-ID"] == mail.message_id
    assert read["X-Crown-Notification-Id"] == "n-1"
    assert read["X-Crown-Delivery-Id"] == "d" * 32
    assert set(read.keys()) == {
        *("From", "To", "Subject", "Date", "Content-Type", "MIME-Version", "Auto-Submitted"),
        *("Message-ID", "X-Crown-Notification-Id", "X-Crown-Delivery-Id"),
    }
    text, html = texts(read)
    assert text.split("\n")[4:6] == [".", "..dots"]
    assert "&lt;b&gt;" in html


def texts(read: EmailMessage) -> list[str]:
    found = [part.get_content() for part in read.iter_parts() if isinstance(part, EmailMessage)]
    return [text.replace("\r\n", "\n") for text in found]


@settings(deadline=None, max_examples=50)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=200),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=400),
)
@example("=?utf-8?q?hello?=", "=_dddddddddddddddddddddddddddddddd\n--=_" + "d" * 32 + "--")
@example(" x ", "From \n.\n \n\t\n=\r\n=3D")
@example("x", "ü" * 400)
def test_whatever_it_says_is_read_back(title: str, message: str) -> None:
    mail = Mail("ann@example.org", title, message, message, "<m@crown.example>", "n-1", "d" * 32)
    read = read_back(render(mail, LETTERHEAD, datetime(2026, 11, 22, tzinfo=UTC)))
    assert " ".join(read["Subject"].split()) == " ".join(title.split())
    lines = message.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    assert texts(read) == [f"{lines}\n"] * 2


def test_a_name_with_everything_in_it() -> None:
    mail = Mail("ann@example.org", "x", "x", "x", "<m@crown.example>", "n-1", "d" * 32)
    for name in ('Crown, "the" <app>', "Crøwn 🎉", ""):
        letterhead = replace(LETTERHEAD, name=name)
        sender = read_back(render(mail, letterhead, datetime(2026, 11, 22, tzinfo=UTC)))["From"].addresses
        assert [(a.display_name, a.addr_spec) for a in sender] == [(name, "notifications@crown.example")]


async def test_largest_content_is_bounded(attempt: Make) -> None:
    data = NotificationData(title="x" * 200, message="&" * 8_000)
    mail = await composed(attempt("ann@example.org", title=data.title, message=data.message))
    assert len(mail.html) < 64 << 10
