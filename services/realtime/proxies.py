"""Which address a client has. A header can say anything, so it counts only where a proxy of ours wrote it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

# Loopback, and the networks that nobody has to himself.
PRIVATE = "127.0.0.0/8, ::1/128, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7"
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
# Bits of an IPv6 address that one household or machine gets: it may use every address below them.
_V6_PREFIX = 64

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Proxies:
    """The networks whose word about the client's address is taken."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def of(cls, text: str) -> Proxies:
        """From a list of networks, separated by commas; empty: nobody's word is. Raises ValueError."""
        try:
            return cls(tuple(ip_network(part.strip()) for part in text.split(",") if part.strip()))
        except ValueError:
            raise ValueError("must be networks such as 10.0.0.0/8 or fd00::/8, separated by commas") from None

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """Who connects, as connections are counted: an IPv4 address, or the /64 network of an IPv6 one. `peer` is
        at the other end of the connection, `forwarded` every X-Forwarded-For header that came."""
        address = _read(peer)
        if address is None:
            return peer
        if forwarded and self._trusted(address):
            # The last entry is the one that our proxy put there; those before it are the client's own words.
            address = _read(forwarded[-1].rpartition(",")[2].strip()) or address
        return _counted(address)

    def _trusted(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def _read(text: str) -> Address | None:
    """The address in `text`, which may have a port; None where there is none."""
    found = _WITH_PORT.fullmatch(text)
    try:
        address = ip_address((found[1] or found[2]) if found else text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _counted(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((int(address), _V6_PREFIX), strict=False))
