"""Which addresses may be called where the address came from outside: a browser's push endpoint, a sender's
webhook. Give an Egress to `Http`, and it calls nothing else; ask `problem` when the address comes in.

An entry of the list is a host, `*.host` for all below it, or either with a port. Without a port it means https
on 443 and a public address. With a port the operator vouches for what is there: the address may be private, and
on loopback it may be http. Names are judged by what they resolve to at the moment of connecting, and the
connection goes to what was judged; so a name that changes its mind in between gains nothing. Redirects are never
followed."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_address

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ENTRY = re.compile(rf"(?P<below>\*\.)?(?P<host>{_LABEL}(?:\.{_LABEL})*)(?::(?P<port>[0-9]{{1,5}}))?")
# Narrower than any parser of addresses, so that none of them can read it differently: no user, no backslash.
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_LABEL}(?:\.{_LABEL})*)(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?:[/?][\x21-\x22\x24-\x5b\x5d-\x7e]*)?",
    re.IGNORECASE,
)
_PORT_MOST = 65_535
_GLOBAL_V6 = IPv6Network("2000::/3")
_SIX_TO_FOUR = IPv6Network("2002::/16")


class AddressRefused(OSError):
    """A name leads to an address that is not public."""


@dataclass(frozen=True, slots=True)
class _Entry:
    host: str
    below: bool
    port: int | None

    def covers(self, host: str, port: int) -> bool:
        named = host.endswith(f".{self.host}") if self.below else host == self.host
        return named and port == (self.port or 443)


@dataclass(frozen=True, slots=True)
class Egress:
    """The hosts that may be called. Without any, none may."""

    entries: tuple[_Entry, ...] = ()

    @classmethod
    def of(cls, hosts: Iterable[str]) -> Egress:
        """The list with these entries. Raises ValueError where one is none."""
        return cls(tuple(_entry(host) for host in hosts))

    def problem(self, url: str) -> str | None:
        """Why `url` may not be called; None where it may, as far as its text tells."""
        parts = _URL.fullmatch(url)
        if parts is None:
            return "must be an https address without user, fragment, spaces or backslashes"
        scheme, host = parts["scheme"].lower(), parts["host"].lower()
        port = int(parts["port"] or (443 if scheme == "https" else 80))
        if not any(entry.covers(host, port) for entry in self.entries):
            return "must be on an allowed host"
        if scheme == "http" and not (self.vouched(host, port) and _is_loopback(host)):
            return "must be https"
        if _is_literal(host) and not self.vouched(host, port):
            return "must name a host, not an address"
        return None

    def vouched(self, host: str, port: int) -> bool:
        """Whether the operator named this very port, so that the address behind it may be private."""
        return any(entry.port is not None and entry.covers(host, port) for entry in self.entries)


class PublicResolver(AbstractResolver):
    """Resolves names and refuses those that lead, even with one of their addresses, to where nobody from
    outside may send us. `inner` does the resolving."""

    def __init__(self, egress: Egress, inner: AbstractResolver | None = None) -> None:
        self._egress = egress
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`. Raises OSError where it has none, AddressRefused where one is not public."""
        found = await self._inner.resolve(host, port, family)
        if not self._egress.vouched(host.lower(), port) and not all(is_public(one["host"]) for one in found):
            raise AddressRefused("leads to an address that is not public")
        return found

    async def close(self) -> None:
        """Closes `inner`."""
        await self._inner.close()


def is_public(address: str) -> bool:
    """Whether anybody on the internet could be meant: not private, shared, loopback or link-local, no multicast,
    and no IPv4 address in the clothes of IPv6 (mapped, 6to4, Teredo, NAT64)."""
    found = ip_address(address)
    if isinstance(found, IPv4Address):
        return found.is_global and not found.is_multicast
    return found in _GLOBAL_V6 and found.is_global and found not in _SIX_TO_FOUR


def _entry(text: str) -> _Entry:
    parts = _ENTRY.fullmatch(text.strip().lower())
    if parts is None or not 0 < int(parts["port"] or 443) <= _PORT_MOST:
        raise ValueError("must be hosts such as push.example.org, *.example.org or 127.0.0.1:3009")
    return _Entry(parts["host"], bool(parts["below"]), int(parts["port"]) if parts["port"] else None)


def _is_literal(host: str) -> bool:
    # The last label of a name is never all digits; `inet_aton` would take such a one, in forms that nobody reads.
    return host.rpartition(".")[2].isdigit()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
