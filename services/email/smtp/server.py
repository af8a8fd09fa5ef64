"""The address of a mail server, from the forms that people write it in."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import unquote, urlsplit

_FORM = "must be host, host:port, smtp://host:port or smtps://host:port"
_PORT = 25
_SUBMISSION_PORT = 587
_TLS_PORT = 465


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mail is handed over. `port` is 0 where none was named; `tls` from the first byte."""

    host: str
    port: int = 0
    tls: bool = False
    user: str = ""
    password: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `host`, `host:port`, `smtp://[user:password@]host[:port]` or `smtps://…`. Raises ValueError
        without the text, which may hold a password."""
        try:
            parts = urlsplit(text if "://" in text else f"smtp://{text}")
            port = parts.port
        except ValueError:
            raise ValueError(_FORM) from None
        extra = parts.path.strip("/") or parts.query or parts.fragment
        if (
            parts.scheme not in {"smtp", "smtps"}
            or not parts.hostname
            or extra
            or not _is_host(parts.hostname)
        ):
            raise ValueError(_FORM)
        return cls(
            parts.hostname,
            port or 0,
            parts.scheme == "smtps",
            unquote(parts.username or ""),
            unquote(parts.password or ""),
        )

    def with_login(self, user: str, password: str) -> Self:
        """The server with this login, where one is given."""
        return replace(self, user=user, password=password) if user else self

    @property
    def actual_port(self) -> int:
        """The named port; else 465 with TLS, 587 with a login, 25 without."""
        if self.port:
            return self.port
        if self.tls:
            return _TLS_PORT
        return _SUBMISSION_PORT if self.user else _PORT

    @property
    def demands_starttls(self) -> bool:
        """True where a password would otherwise cross a network in the clear. Else STARTTLS is used where
        the server offers it."""
        return bool(self.user) and not self.tls and not _is_loopback(self.host)


def _is_host(host: str) -> bool:
    return host.isascii() and host.isprintable() and not set(host) & set(" ,;<>\"'@\\")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
