"""SMTP_HOST in the forms that people write."""

from __future__ import annotations

import pytest

from services.email.smtp.server import SmtpServer


@pytest.mark.parametrize(
    ("text", "host", "port", "tls"),
    [
        ("mail.example.org", "mail.example.org", 25, False),
        ("mail.example.org:2525", "mail.example.org", 2525, False),
        ("smtp://mail.example.org", "mail.example.org", 25, False),
        ("smtp://mail.example.org:587/", "mail.example.org", 587, False),
        ("smtp://ann:secret@mail.example.org", "mail.example.org", 587, False),
        ("smtps://mail.example.org", "mail.example.org", 465, True),
        ("smtps://mail.example.org:4650", "mail.example.org", 4650, True),
        ("smtp://[::1]:25", "::1", 25, False),
        ("127.0.0.1:3025", "127.0.0.1", 3025, False),
    ],
)
def test_forms(text: str, host: str, port: int, tls: bool) -> None:
    server = SmtpServer.parse(text)
    assert (server.host, server.actual_port, server.tls) == (host, port, tls)


@pytest.mark.parametrize(
    "text",
    ["", ":25", "http://mail", "mail:port", "mail:99999", "smtp://mail/path", "mail?x=1", "a b", "a,b"],
)
def test_wrong_forms(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be host, host:port, smtp://host:port or smtps://host:port$"):
        SmtpServer.parse(text)


def test_a_login_of_its_own() -> None:
    server = SmtpServer.parse("smtp://ann:s%40cret@mail")
    assert (server.user, server.password) == ("ann", "s@cret")
    assert server.with_login("", "").user == "ann"
    assert server.with_login("eve", "x").password == "x"


@pytest.mark.parametrize(
    ("text", "demands"),
    [
        ("mail", False),
        ("smtp://u:p@mail", True),
        ("smtps://u:p@mail", False),
        ("smtp://u:p@127.0.0.1:25", False),
        ("smtp://u:p@[::1]:25", False),
        ("smtp://u:p@localhost", False),
    ],
)
def test_a_password_never_crosses_a_network_in_the_clear(text: str, demands: bool) -> None:
    assert SmtpServer.parse(text).demands_starttls is demands
