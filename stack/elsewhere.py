"""Servers that run somewhere else: named by the caller's variables, neither started nor stopped here."""

from __future__ import annotations

from collections.abc import Mapping

_VARIABLES = {"nats": "NATS_URL", "mongod": "DATABASE_URL", "valkey": "REDIS_HOST", "mailbox": "SMTP_HOST"}

_SECRET = frozenset({"DATABASE_URL", "REDIS_HOST"})

UNREAD = "named in a file"


def addresses(given: Mapping[str, str]) -> dict[str, str]:
    """Server name -> the address that stands for it, without its password."""
    found: dict[str, str] = {}
    for name, variable in _VARIABLES.items():
        if given.get(variable):
            found[name] = without_password(given[variable])
        elif variable in _SECRET and given.get(f"{variable}_FILE"):
            found[name] = UNREAD
    return found


def without_password(address: str) -> str:
    """What may be shown of an address: no user, no password, no parameters."""
    servers = (one.rpartition("@")[2] for one in address.split(","))
    return ",".join(server.partition("://")[2] or server for server in servers).partition("?")[0]


def variable_of(server: str) -> str | None:
    """The variable that names another server in place of `server`; None for what cannot be replaced."""
    return _VARIABLES.get(server)
